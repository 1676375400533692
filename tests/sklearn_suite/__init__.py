"""scikit-learn's own tests of its searches, run with every search fitted on nodes."""
