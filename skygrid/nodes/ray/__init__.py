"""Nodes on a Ray cluster, each an actor that carries an agent.

`place` offers them. `cluster` is the only module that imports Ray; it runs in the gateway, whose
program this package is (``python -m skygrid.nodes.ray``).
"""
