"""Hints for the next search: one module for each kind, each silent unless its numbers are clear."""
