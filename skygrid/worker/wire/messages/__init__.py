"""Messages between driver and agent, typed and versioned.

Each message is one MessagePack value in one frame (see `frames`). `to_agent` has those of the
driver, `from_agent` those of the agent, `results` and `calls` what both name, `exceptions` and
`fields` the types of their fields. Code travels from driver to agent only: agents' messages are
decoded as `FromAgent`, which holds numbers, text and lists. The one pickle in it, the results of
calls, is opened only where the user trusts the nodes.
"""
