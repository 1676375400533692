"""The Python environment of a node that is not this machine: described, packed, made there.

`settings` is what the user may say of it, `installed` what this interpreter holds, `requirements`
reads requirement strings and files, `resolve` decides from these what a node needs (`records`),
`wheels` builds what no index has, `kit` packs it all with the worker's code, and `node_commands`
says what a node's shell is to run. The shell scripts beside these modules are what runs there.
"""
