"""The AWS API: which region and credentials, and clients that retry within bounds."""
