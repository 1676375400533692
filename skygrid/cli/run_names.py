"""Look-up of runs by name, for the commands."""

from skygrid.run.names import find_run, run_folders

__all__ = ["find_run", "run_folders"]
