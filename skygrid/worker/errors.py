"""Errors that the parts of an agent raise for one another."""


class UnableError(Exception):
    """The node cannot do what was asked; the text says why, for the driver."""
