"""Version of the protocol between driver and agent, in a module without imports for the bridge."""

PROTOCOL = 11
"""Version of messages and frames; compared in the handshake."""
