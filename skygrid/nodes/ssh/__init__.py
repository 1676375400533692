"""SSH; the only room that imports paramiko.

`targets` reads the user's SSH configuration, `connection` opens connections, `channel` runs
commands over them and carries the stream of `reconnecting`, `provider` offers hosts as nodes, and
`failures` words the errors.
"""
