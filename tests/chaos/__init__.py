"""Random faults on whole runs, and random bytes for every decoder."""
