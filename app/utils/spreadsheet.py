"""CSV (RFC 4180) that a spreadsheet shows and does not run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

# What begins a formula, also in full width; and what a spreadsheet takes for the end of a cell
# where its own separator is another: in Brazil a semicolon.
_RUNS = re.compile(r"(^|[;\t\r\n])(?=\s*[=+\-@＝＋－＠]|[\t\r])")


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the table; None is an empty cell, numbers are as they are."""
    text = io.StringIO()
    # Its line ends are those of RFC 4180 by itself.
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    return inert(value) if isinstance(value, str) else value


def inert(text: str) -> str:
    """Put an apostrophe before whatever would be run."""
    return _RUNS.sub(r"\1'", text)
