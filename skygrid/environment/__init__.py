"""The Python environment of a remote node: description, packing and installation.

`settings` is the user's configuration, `installed` describes the driver's interpreter,
`requirements` parses requirement strings and files, `resolve` combines these into an `Environment`
(`records`), `wheels` builds local projects, `kit` packs everything with the worker's code, and
`shell_commands` makes the commands for a node's shell. The shell scripts run on the node.
"""
