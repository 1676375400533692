"""A project as users have them: a search file with modules and a package beside it.

Each of its checks is a score: 1.0 if a fit finds the same as under scikit-learn alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES = {
    "helper.py": """
import colorsys, enum, functools, threading
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

colorsys.registered_by_helper = True
LOCK = threading.Lock()

class Mode(enum.Enum):
    A = 1
    B = 2

class Base(ClassifierMixin, BaseEstimator):
    pass

class Shift(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X + 1

@functools.singledispatch
def kind(value):
    return "other"

@kind.register
def _(value: int):
    return "int"

def square(value):
    with LOCK:
        return value * value
""",
    "settings.py": """
LIMIT, TABLE, ITEMS = 1, {}, []

class Holder:
    value = None

def configure(limit):
    global LIMIT
    LIMIT = limit

def shown():
    return LIMIT, TABLE, ITEMS, Holder.value
""",
    "state.py": """
import collections, dataclasses, enum, threading
from os import environ

Point = collections.namedtuple("Point", "x y")
Level = enum.Enum("Level", "LOW HIGH")

@dataclasses.dataclass
class Config:
    alpha: float = 0.0

@dataclasses.dataclass(slots=True, frozen=True)
class Fixed:
    alpha: float = 0.0

class Registry:
    shared = {}

    def __init__(self):
        self.functions, self.lock = {}, threading.Lock()

    def add(self, function):
        with self.lock:
            self.functions[function.__name__] = function
        return function

KINDS = {}

def register(kind):
    KINDS[kind.__name__] = kind
    return kind

@register
class First:
    pass

THRESHOLD, MEAN, PLACE, LEVEL, METRIC, SAMPLES = 0.0, None, Point(0, 0), Level.LOW, None, None
COUNTS, ORDER = collections.Counter(), collections.OrderedDict()
GROUPS = collections.defaultdict(int)
LATEST, WORDS, MIXED = collections.deque(maxlen=2), [], {"lock": threading.Lock(), "limit": 1}
CONFIG, FIXED, MISSING, registry = Config(), Fixed(), object(), Registry()
add, ALIAS = registry.add, KINDS

def standardised(X):
    return X - MEAN

def is_missing(value=MISSING):
    return value is MISSING
""",
    "rich/__init__.py": "from . import names\nfrom rich.names import NAME\n",
    "rich/names.py": """
import msgspec
NAME = 'rich of the user'
class Named:
    name = NAME
""",
    "msgspec.py": "NAME = 'msgspec of the user'\n",
    "sqlite3.py": "NAME = 'sqlite3 of the user'\n",
    "resource.py": "NAME = 'resource of the user'\n",
    "http.py": "NAME = 'http of the user'\n",
    "words.txt": "words",
    "pkg/__init__.py": """
from importlib.metadata import version
from settings import TABLE
__version__ = version('Hy-Pkg.One')
""",
    "pkg/helper.py": """
import os
from pathlib import Path

HERE = os.path.dirname(__file__)

def words():
    with open(os.path.join(HERE, "data.txt")) as file:
        return Path(__file__).with_name("data.txt").read_text() if file.read() else ""
""",
    "pkg/data.txt": "data of the package",
    "installed/hy_pkg_one-3.1.dist-info/METADATA": (
        "Metadata-Version: 2.1\nName: Hy-Pkg.One\nVersion: 3.1-rc1+Local.2\n"
    ),
    "search.py": """
import concurrent.futures, enum, functools, importlib, importlib.metadata, importlib.resources
import locale, multiprocessing, os, pickle, sys, tempfile, threading, time, traceback
from pathlib import Path

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline

import helper, msgspec, pkg.helper, rich.names, settings, sqlite3, state
from state import COUNTS, CONFIG, KINDS, MISSING, registry
from rich.names import Named

os.environ["STRENGTH"] = "0.25"
os.environ.pop("TO_BE_REMOVED", None)
os.makedirs("elsewhere", exist_ok=True)
FOLDER = os.path.abspath("elsewhere")
os.chdir(FOLDER)
os.environ["TMPDIR"] = FOLDER
os.environ["TZ"] = "JST-9"
time.tzset()
os.umask(0o057)
sys.setrecursionlimit(4321)
np.seterr(under="raise")
locale.setlocale(locale.LC_TIME, "C.UTF-8")
LOCALE = locale.setlocale(locale.LC_ALL)
ARGUMENTS = list(sys.argv)
WEIGHTS = np.arange(10)
LOCK = threading.Lock()
Local = enum.Enum("Local", "P Q")
TABLE = {}


def check(function):
    assert function.__name__ not in TABLE
    TABLE[function.__name__] = function
    return function


@functools.lru_cache
def cached(number):
    return number + len(WEIGHTS)


class Kept:
    @functools.cached_property
    def half(self):
        return 0.5


KEPT = Kept()
NAMED = Named()
shifted = lambda number: number + len(WEIGHTS) + 2


@check
def variable(self):
    return os.environ["STRENGTH"] == "0.25" and "TO_BE_REMOVED" not in os.environ

@check
def folder_for_temporary_files(self):
    return tempfile.gettempdir() == FOLDER

@check
def time_zone(self):
    return time.tzname[0] == time.strftime("%Z") == "JST"

@check
def folder(self):
    return os.getcwd() == FOLDER

@check
def umask(self):
    mask = os.umask(0)
    os.umask(mask)
    return mask == 0o057

@check
def recursion_limit(self):
    return sys.getrecursionlimit() == 4321

@check
def arguments(self):
    return sys.argv == ARGUMENTS

@check
def numpy_errors(self):
    return np.geterr()["under"] == "raise"

@check
def all_of_the_locale(self):
    return locale.setlocale(locale.LC_ALL) == LOCALE

@check
def base_class(self):
    return isinstance(self, importlib.import_module("helper").Base)

@check
def member_of_an_enum(self):
    return self.mode is importlib.import_module("helper").Mode.B and self.local is Local.Q

@check
def effects_of_an_import(self):
    import colorsys
    return colorsys.registered_by_helper

@check
def pickled_by_itself(self):
    return type(pickle.loads(pickle.dumps(type(self)(self.mode)))) is type(self) is Estimator

@check
def process_pool(self):
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(helper.square, 3).result(60) == 9

@check
def single_dispatch(self):
    return helper.kind(3) == "int" and helper.kind("") == "other"

@check
def locks(self):
    with LOCK, importlib.import_module("helper").LOCK:
        return True

@check
def cached_function(self):
    return cached(3) == 13

@check
def function_without_a_name(self):
    return self.shift(2) == 14

@check
def instance_of_an_own_class(self):
    return type(KEPT) is Kept and KEPT.half == 0.5 and Kept().half == 0.5

@check
def pipeline_with_memory(self):
    with tempfile.TemporaryDirectory() as memory:
        steps = [("shift", helper.Shift()), ("end", DummyClassifier())]
        for _ in range(2):
            Pipeline(steps, memory=memory).fit(np.zeros((4, 1)), [0, 1, 0, 1])
    return True

@check
def import_by_text(self):
    found = importlib.import_module("pkg.helper")
    return found.words() == "data of the package" and found.HERE == os.path.dirname(found.__file__)

@check
def resources(self):
    return importlib.resources.files("pkg").joinpath("data.txt").read_text().startswith("data")

@check
def file_beside_the_search_file(self):
    return Path(__file__).with_name("words.txt").read_text() == "words"

@check
def version_of_the_package(self):
    return pkg.__version__ == importlib.metadata.version("hy_pkg.one") == "3.1-rc1+Local.2"

@check
def standard_input(self):
    return sys.stdin.read() == ""

@check
def own_modules_named_as_libraries(self):
    import msgspec as again
    from rich import names
    assert isinstance(NAMED, names.Named) and rich.names.msgspec is again
    return (again.NAME, rich.NAME, sqlite3.NAME) == (
        "msgspec of the user", "rich of the user", "sqlite3 of the user"
    ) and again is msgspec

@check
def own_modules_that_fits_alone_import(self):
    import http, resource
    return (http.NAME, resource.NAME) == ("http of the user", "resource of the user")

@check
def settings_of_a_module(self):
    return settings.shown() == (5, {"a": 1}, [2], 3) and settings.TABLE is pkg.TABLE

@check
def values_of_libraries_in_a_module(self):
    return type(state.THRESHOLD) is np.float64 and (state.THRESHOLD, state.TOTAL) == (9.9, 66) and (
        state.standardised(numbers.reshape(-1, 1)).mean() == 0 and state.MEAN.shape == (1,)
    )

@check
def values_of_own_classes_in_a_module(self):
    return state.PLACE.x == 1 and state.LEVEL is state.Level.HIGH and (
        state.FIXED.alpha == state.CONFIG.alpha == 0.5 and state.Registry.shared == {"a": 1}
    )

@check
def changed_content_in_a_module(self):
    content = dict(state.COUNTS), dict(state.ORDER), dict(state.GROUPS), list(state.LATEST)
    return content == ({"a": 2, "b": 1}, {"z": 1, "a": 2}, {"x": 3}, [1, 2]) and (
        state.GROUPS.default_factory, state.LATEST.maxlen, len(state.WORDS), state.WORDS[-1]
    ) == (int, 2, 12000, "w11999")

@check
def values_beside_what_cannot_be_sent(self):
    with state.MIXED["lock"], state.registry.lock:
        return state.MIXED["limit"] == 5

@check
def functions_that_the_program_assigned(self):
    return state.METRIC is doubled and state.LOSS is log_loss

@check
def data_of_the_search_in_a_module(self):
    return bool(np.array_equal(state.SAMPLES, numbers.reshape(-1, 1)))

@check
def one_object_of_a_module(self):
    again = importlib.import_module("state")
    return all([
        COUNTS is again.COUNTS, CONFIG is again.CONFIG, KINDS is again.KINDS is again.ALIAS,
        registry is again.registry is again.add.__self__, again.environ is os.environ,
        absent() and again.is_missing() and again.is_missing(MISSING),
    ])

@check
def registered_by_the_search_file(self):
    again = importlib.import_module("state")
    again.add(int)
    return again.registry.functions == {"doubled": doubled, "int": int} and (
        again.KINDS == {"First": again.First, "Second": Second}
    )

@check
def nested_classes(self):
    inner = Estimator.Inner.Deep
    return inner.__qualname__ == "Estimator.Inner.Deep" and (
        type(pickle.loads(pickle.dumps(inner()))) is inner
    )

@check
def stored_functions(self):
    assert self.stored is twice_as_much
    return twice_as_much.__wrapped__ is STORED["twice_as_much"] and (
        NAMES.get(self.shift) == ("shifted" if self.shift is shifted else None)
    )

@check
def globals_as_they_are_at_last(self):
    return rebound(3) == 6 and (Early.scale, Late.scale, SCALE) == (1, 2, 2) and eval("SCALE") == 2

@check
def one_module(self):
    return sys.modules[__name__].Estimator is type(self) and type(self).fit.__globals__ is globals()


def twice(function):
    return lambda number: 2 * function(number)

def rebound(number):
    return number

rebound = twice(rebound)
SCALE = 1
class Early:
    scale = SCALE
SCALE = 2
class Late:
    scale = SCALE

limit = float(SCALE + 3)
settings.configure(limit)
settings.TABLE["a"] = 1
settings.ITEMS.append(2)
settings.Holder.value = 3

@state.registry.add
def doubled(number):
    return 2 * number

@state.register
class Second:
    pass

def absent(value=MISSING):
    return value is MISSING


STORED, NAMES = {}, {shifted: "shifted"}

def stored(function):
    STORED[function.__name__] = function

    @functools.wraps(function)
    def inner(number):
        return function(number)

    return inner

@stored
def twice_as_much(number):
    return 2 * number


class Estimator(helper.Base):
    class Inner:
        class Deep:
            pass

    def __init__(self, mode=None, local=Local.Q, shift=None, stored=None):
        self.mode, self.local, self.shift, self.stored = mode, local, shift, stored

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.found_ = {}
        for name, function in TABLE.items():
            try:
                self.found_[name] = float(bool(function(self)))
            except Exception:
                traceback.print_exc()
                self.found_[name] = 0.0
        self.found_["sent"] = float(not pkg.__file__.startswith(os.path.dirname(FOLDER)))
        self.found_["hash"] = float(hash("order of a set") % 1000)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)


def scores(estimator, X, y):
    return dict(estimator.found_)


numbers = np.array(sys.stdin.read().split(), dtype=float)
dataset = numbers.reshape(-1, 1), np.arange(len(numbers)) % 2
state.SAMPLES, state.MEAN = dataset[0], dataset[0].mean(axis=0)
state.THRESHOLD, state.TOTAL = np.quantile(numbers, 0.9), numbers.sum()
state.COUNTS.update("aab")
state.ORDER.update(z=1, a=2)
state.GROUPS["x"] += 3
state.LATEST.extend([0, 1, 2])
state.WORDS.extend(f"w{number}" for number in range(12000))
state.MIXED["limit"], state.CONFIG.alpha, state.FIXED = 5, 0.5, state.Fixed(0.5)
state.PLACE, state.LEVEL = state.Point(1, 2), state.Level.HIGH
state.METRIC, state.LOSS, state.Registry.shared["a"] = doubled, log_loss, 1
estimator = Estimator()
param_grid = {"mode": [helper.Mode.B], "shift": [lambda n: n + len(WEIGHTS) + 2, shifted]}
param_grid["stored"] = [twice_as_much]
scoring = scores
refit = False
cv = 3
""",
}

CHECKS = (
    "variable",
    "folder_for_temporary_files",
    "time_zone",
    "folder",
    "umask",
    "recursion_limit",
    "arguments",
    "numpy_errors",
    "all_of_the_locale",
    "base_class",
    "member_of_an_enum",
    "effects_of_an_import",
    "pickled_by_itself",
    "process_pool",
    "single_dispatch",
    "locks",
    "cached_function",
    "function_without_a_name",
    "instance_of_an_own_class",
    "pipeline_with_memory",
    "import_by_text",
    "resources",
    "file_beside_the_search_file",
    "version_of_the_package",
    "standard_input",
    "own_modules_named_as_libraries",
    "own_modules_that_fits_alone_import",
    "settings_of_a_module",
    "values_of_libraries_in_a_module",
    "values_of_own_classes_in_a_module",
    "changed_content_in_a_module",
    "values_beside_what_cannot_be_sent",
    "functions_that_the_program_assigned",
    "data_of_the_search_in_a_module",
    "one_object_of_a_module",
    "registered_by_the_search_file",
    "nested_classes",
    "stored_functions",
    "globals_as_they_are_at_last",
    "one_module",
)

EARLY = (
    """\
import os
os.environ["SCIPY_ARRAY_API"] = "1"
os.environ["SKLEARN_WORKING_MEMORY"] = "77"
""",
    """
@check
def variables_read_at_import(self):
    import sklearn
    from scipy._lib import _array_api
    found = str(_array_api.SCIPY_ARRAY_API), sklearn.get_config()["working_memory"]
    return found == ("1", 77)
""",
)
"""Beginning and end of a search file that sets variables which libraries read once."""

EARLY_CHECK = "variables_read_at_import"

NUMBERS = " ".join(map(str, range(12)))
"""Standard input of the search file."""

PLAIN = """
import sys
sys.path.insert(0, ".")
import search
from sklearn.model_selection import GridSearchCV
made = GridSearchCV(
    search.estimator, search.param_grid, scoring=search.scoring, refit=False, cv=search.cv
)
made.fit(*search.dataset)
for name in search.TABLE:
    print(name, *made.cv_results_[f"mean_test_{name}"])
"""
"""Program that runs the same search with scikit-learn alone."""


def search_file(*, early: bool) -> str:
    """Return the search file; `early`: with `EARLY`."""
    return EARLY[0] + FILES["search.py"] + EARLY[1] if early else FILES["search.py"]


def write_project(folder: Path, *, early: bool = False) -> dict[str, str]:
    """Write the project and return an environment in which its package is installed."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "search.py").write_text(search_file(early=early))
    origin = folder / "installed/hy_pkg_one-3.1.dist-info/direct_url.json"
    origin.write_text(f'{{"url": "file://{folder}", "dir_info": {{"editable": true}}}}')
    return {**os.environ, "PYTHONPATH": str(folder / "installed"), "TO_BE_REMOVED": "1"}


def differences(results: Mapping[str, Any], *, early: bool = False) -> list[str]:
    """Return the checks that failed in any fit."""
    checks = [*CHECKS, *([EARLY_CHECK] if early else [])]
    found = [check for check in checks if results[f"mean_test_{check}"] != [1.0, 1.0]]
    hashes = {*results["mean_test_hash"]}
    if len(hashes) > 1 or {*results["std_test_hash"]} != {0.0}:
        found.append("hash")
    return found
