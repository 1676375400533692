"""A cloud for tests: AWS's APIs in front, a real machine behind every instance."""
