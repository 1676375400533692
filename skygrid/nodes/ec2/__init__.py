"""Nodes that are EC2 instances: planned, launched, watched and ended here.

`api` opens the API, `planning` decides what to launch, `launch` starts instances and waits for
them, `teardown` ends them and proves it, `doctor` tries an account; `fleet` is the one object that
launches and ends. boto3 is imported when it is first needed: that takes a third of a second.
"""
