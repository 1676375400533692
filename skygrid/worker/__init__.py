"""All that runs on a node: messages, agent, slots, evaluation.

Imports the standard library, msgspec, cloudpickle and scikit-learn, and nothing else of skygrid:
this folder is what is sent to a bare node.
"""
