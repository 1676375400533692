"""Measurements: skygrid and a peer in turn, in one go, medians and ratios. Not part of the tests."""
