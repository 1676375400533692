"""Nodes on a Dask cluster, each an actor on one worker that hosts an agent.

`place` offers them. `cluster` is the only module that imports Dask; it runs in the gateway, whose
program this package is (``python -m skygrid.nodes.dask``).
"""
