"""A user's search file, read into a `SearchSpec`.

`user_code` reads and runs the file, `names` finds the contract's names in it, `estimators`,
`parameters`, `settings` and `data` check their values, `build` makes the scikit-learn search.
Nothing here fits, samples or copies anything.
"""

from __future__ import annotations

import sys
from pathlib import Path

from skygrid.plan.spec import SearchSpec
from skygrid.search_file.build import build_search, does_refit
from skygrid.search_file.data import check_agreement, read_data
from skygrid.search_file.library_settings import settings_from_environment
from skygrid.search_file.names import Names, notes_without_effect
from skygrid.search_file.portable import check_portable
from skygrid.user_code.imports import own_imports, register_user_modules, run_file
from skygrid.user_code.modules import imported_modules
from skygrid.user_code.output import stdout_to_stderr
from skygrid.user_code.own_names import own_names
from skygrid.user_code.source import read_search_file

__all__ = ["load_search"]


def load_search(path: Path) -> SearchSpec:
    """Run a search file once and return the search that it describes.

    The file's folder stays first on `sys.path` and its module in `sys.modules`; its output goes to
    stderr. Modules from the folder are registered with cloudpickle to be pickled by value, and sent
    to nodes by name.

    Raises
    ------
    SearchFileError
        One short message: the name, the line, and the remedy.
    """
    file = read_search_file(path)
    folder = Path.cwd()
    with stdout_to_stderr(), own_imports(file):
        before = frozenset(sys.modules)
        with settings_from_environment():
            module = run_file(file)
        names = Names(file, module)
        # The search comes first: a misspelt parameter is reported before the data are made.
        search = build_search(names)
        data = read_data(names, search, refits=does_refit(search))
        check_agreement(names, search, data)
        code = register_user_modules(file.folder, module, file.text)
        with own_names.exchanged():
            imported = imported_modules(code.modules, before)
        check_portable(names, search, {"X": data.X, "y": data.y, **data.fit_params})
    return SearchSpec(
        search=search,
        X=data.X,
        y=data.y,
        fit_params=data.fit_params,
        holdout=data.holdout,
        source=file.path,
        code=code,
        started_in=Path() if Path.cwd() == folder else folder,
        imported=imported,
        notes=tuple(notes_without_effect(names, search)),
    )
