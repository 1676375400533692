"""EC2 instances as nodes.

`api` makes the clients, `planning` decides what to launch, `launch` starts instances and waits for
them, `teardown` ends them and verifies the end, `doctor` examines an account; only `fleet` launches
and ends. boto3 is imported at first use, because its import takes 0.3 s.
"""
