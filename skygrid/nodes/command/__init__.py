"""Nodes behind commands of the user that give a standard input and output.

`agent_start` has what a shell on a node needs to become an agent, `channel` runs the command,
`provider` and `place` offer the nodes.
"""
