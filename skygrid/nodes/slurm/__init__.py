"""Nodes that Slurm starts.

`request` makes the command lines of ``srun``, `queue` reads ``squeue``, `programs` runs Slurm's
programs. `job_channel` is the channel of `nodes.command` through ``srun``; `provider` and `place`
offer the nodes.
"""
