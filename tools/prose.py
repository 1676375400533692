"""Print figures about the plainness of the project's English, per folder and in total.

    python tools/prose.py                  # every file in git
    python tools/prose.py skygrid guides   # files below some folders

Prose is docstrings, comments and Markdown. ``odd``: sentences that open with a question word, and
vague words, per 1,000 words. ``asks``: share of docstrings that open with a question word.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]

QUESTION = re.compile(r"(?:What|Whether|Where|How)\b")
ODD = re.compile(
    r"\b(?:What|Whether|Where|How"  # at the start of a sentence
    r"|(?i:whoever|whatever|somebody|nobody|so\s+many|such\s+a\s+one|of\s+it))\b"
)
MARKDOWN_CODE = re.compile(r"^```.*?^```|^ {4}.*?$", re.MULTILINE | re.DOTALL)


def main(folders: list[str]) -> None:
    """Print a row of figures for each folder, and one for the total."""
    command = ["git", "ls-files", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name in listed.stdout.split():
        if name.endswith((".py", ".md")):
            found = figures(ROOT / name)
            counts["/".join(name.split("/")[:-1][:2]) or "."].update(found)
    counts["all"] = sum(counts.values(), Counter())
    print(f"{'folder':28} {'words':>7} {'odd':>6} {'docstrings':>11} {'asks':>6}")
    for folder, one in counts.items():
        odd = 1000 * one["odd"] / max(1, one["words"])
        asks = 100 * one["asks"] / max(1, one["docstrings"])
        print(f"{folder:28} {one['words']:7} {odd:6.2f} {one['docstrings']:11} {asks:5.1f}%")


def figures(path: Path) -> Counter[str]:
    """Count a file's words, odd phrases, docstrings and docstrings with a question word."""
    text = path.read_text(encoding="utf-8")
    docstrings = [] if path.suffix == ".md" else docstrings_of(text)
    prose = [MARKDOWN_CODE.sub("", text)] if path.suffix == ".md" else docstrings + comments(text)
    return Counter(
        words=sum(len(one.split()) for one in prose),
        odd=sum(len(ODD.findall(one)) for one in prose),
        docstrings=len(docstrings),
        asks=sum(bool(QUESTION.match(one)) for one in docstrings),
    )


def docstrings_of(source: str) -> list[str]:
    """Return all strings that are statements: docstrings, including those of attributes."""
    values = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr))
    constants = (value.value for value in values if isinstance(value, ast.Constant))
    return [value.strip() for value in constants if isinstance(value, str)]


def comments(source: str) -> list[str]:
    """Return the comments of a module; comments on consecutive lines are joined."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    found: dict[int, str] = {}
    for token in (one for one in tokens if one.type == tokenize.COMMENT):
        line = token.start[0]
        found[line] = f"{found.pop(line - 1, '')}\n{token.string.lstrip('#').strip()}".strip()
    return list(found.values())


if __name__ == "__main__":
    main(sys.argv[1:])
