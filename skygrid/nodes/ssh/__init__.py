"""SSH, the only room that knows paramiko.

`targets` reads the user's SSH configuration, `connection` opens a connection and runs commands over
it, `channel` carries a stream of `reconnecting` over one command, `provider` names the hosts, and
`failures` says in a user's words what went wrong.
"""
