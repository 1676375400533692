"""Benchmarks: skygrid and its peers in turn, as medians and ratios. Not part of the tests."""
