"""Nodes that are EC2 instances: planned, launched, watched and ended here.

`session` opens the API, `planning` decides what to launch from what the API and `types`, `prices`
and `images` say; `fleet` is the one object that launches and ends; `listing` finds what runs by its
tags alone. boto3 is imported when it is first needed, as that takes a third of a second.
"""
