"""Pickling on a node for the driver, which has the user's modules and the program itself."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from .user_modules import attribute, module_named, program_of


class ReturnPickler(cloudpickle.Pickler):
    """cloudpickle's pickler with the program's classes and functions by name.

    On a node these were made from a pickle. By value, they would exist twice in the driver.
    """

    def reducer_override(self, obj: Any) -> Any:
        """Reduce the program, its classes and its functions to their names."""
        if isinstance(obj, type | FunctionType):
            module = program_of(getattr(obj, "__module__", None))
            name = getattr(obj, "__qualname__", None)
            if module is not None and isinstance(name, str) and _found(module, name) is obj:
                return attribute, (module.__name__, name)
        elif isinstance(obj, ModuleType) and program_of(obj.__name__) is obj:
            return module_named, (obj.__name__,)
        return super().reducer_override(obj)


def _found(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found
