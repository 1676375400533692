"""Nodes behind the library of a cluster, such as Ray or Dask.

`carrier` is the actor on a node, which starts the agent. A gateway is the process on the driver's
machine that uses the cluster's library: `server` is its program, `process` starts it, `channel`
is a transport through it, and `provider` offers the nodes. The library gets a process of its own
because it takes one over: it prints, handles signals, and may end the process when its cluster
is gone.
"""
