"""skygrid: scikit-learn hyperparameter searches on as many machines as you have.

Its functions are loaded when they are first used, so that the command line starts quickly and a
node, which holds nothing of skygrid but `skygrid.worker`, can import this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skygrid._version import __version__ as __version__
from skygrid.worker.user_code import process_state as _process_state  # noqa: F401 (its import notes what the process is like before user code runs)

if TYPE_CHECKING:
    from skygrid.api import cluster, fit
    from skygrid.run.loaded import Run, load

__all__ = ["Run", "cluster", "fit", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from skygrid.util.platforms import check_platform

        check_platform()
        if name in ("Run", "load"):
            from skygrid.run import loaded

            return getattr(loaded, name)
        from skygrid import api

        return getattr(api, name)
    raise AttributeError(f"module 'skygrid' has no attribute {name!r}")
