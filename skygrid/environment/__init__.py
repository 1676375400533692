"""The Python environment of a node: what belongs in it, and how it gets there."""
