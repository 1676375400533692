"""Measurements: skygrid and a peer in turn, medians and ratios. Not part of the tests."""
