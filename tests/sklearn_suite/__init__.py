"""Tests of scikit-learn for its own searches, run with every search fitted on nodes."""
