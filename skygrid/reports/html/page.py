"""A report as one HTML file without references to other files.

All texts go through the template's automatic escaping. Data for the scripts is JSON in which no
character can end its element. A content security policy permits the page's own scripts, by their
digests, and no connections.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from skygrid._version import __version__
from skygrid.reports.html.analysed import analyse
from skygrid.reports.html.page_data import page_data
from skygrid.reports.html.records import Report
from skygrid.reports.html.view import page_view

HERE = Path(__file__).parent
PLOTLY = HERE / "vendor" / "plotly-cartesian-4.1.1.min.js"

PLOTLY_SHA256 = "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a"
"""Digest of the file in the npm package plotly.js-cartesian-dist-min 4.1.1."""

_UNSAFE = re.compile(r"[<>&\u2028\u2029]")


def render(report: Report, *, live: bool = False) -> str:
    """Return the page of a report; `live`: it asks its server for progress and new content."""
    analysis = analyse(report)
    if report.partial and analysis.verdict is not None and analysis.verdict.best is not None:
        report = msgspec.structs.replace(report, best=analysis.verdict.best)
    script, plotly = _read("report.js"), PLOTLY.read_text(encoding="utf-8")
    return _template().render(
        view=page_view(report, analysis),
        data=script_json(page_data(report, analysis)),
        style=Markup(_read("report.css")),  # a file of this package
        script=Markup(script),  # the same
        plotly=Markup(plotly),  # the same
        policy=policy(script, plotly, connect="'self'" if live else "'none'"),
        live=live,
        version=__version__,
    )


def script_json(data: Any) -> Markup:
    """Return JSON for a script element: no character of it can end the element or a line."""
    text = msgspec.json.encode(data).decode()
    return Markup(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))  # escaped


def policy(*scripts: str, connect: str = "'none'") -> str:
    """Return the content security policy: these scripts, inline styles, one place to connect."""
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
        for one in scripts
    )
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
