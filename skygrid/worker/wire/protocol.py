"""Which language driver and agent speak: by itself, as the bridge needs nothing else of it."""

PROTOCOL = 8
"""Version of the messages and of the frames around them; compared in the handshake."""
