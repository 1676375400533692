"""SSH; the only room that imports paramiko.

`targets` reads the user's SSH configuration. `connection` opens connections with the keys of `keys`
to hosts that `host_keys` accepts, by key or by one of the `certificates`. `script` runs scripts,
`channel` short commands and the stream of `reconnecting`. `provider` offers hosts as nodes, and
`failures` words the errors.
"""
