"""A cloud for tests that boots: AWS's APIs in front, a real machine behind every instance."""
