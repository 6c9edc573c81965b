"""Markdown tables of results, printed or written into docs/performance.md."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from datetime import date

from benchmarks.database import BASE

DOCUMENT = BASE / "docs/performance.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", default="", metavar="URL", help="server on which to create a database")
    parser.add_argument("--write", action="store_true", help="put the tables and the plot into docs/")


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are aligned to the left."""
    columns = ["---" if number < left else "--:" for number in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, columns, *rows])


def publish(arguments: argparse.Namespace, section: str, parts: list[str]) -> None:
    """Print the parts, and with --write put them between the section's two comments in the document."""
    text = "\n\n".join(parts)
    print(text)
    if arguments.write:
        begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        document = DOCUMENT.read_text()
        if not pattern.search(document):
            sys.exit(f"{DOCUMENT} has no section {begin.strip()}")
        DOCUMENT.write_text(pattern.sub(lambda _: f"{begin}{text}\n{end}", document))


def machine() -> str:
    return f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
