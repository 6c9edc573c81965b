"""Which package imports which. Only settings and urls import all of them."""

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

BASE = Path(__file__).resolve().parent.parent.parent
FORBIDDEN = {"lockngen": {"apikeys", "generations"}, "apikeys": {"generations"}, "generations": set()}
PACKAGES = set(FORBIDDEN)
KNOW_ALL = {BASE / "lockngen" / "settings.py", BASE / "lockngen" / "urls.py"}
DOTTED_NAME = re.compile(rf"({'|'.join(FORBIDDEN)})(\.\w+)+")


def modules(package: str) -> list[Path]:
    return [path for path in (BASE / package).rglob("*.py") if "tests" not in path.parts and path not in KNOW_ALL]


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def named(path: Path) -> set[str]:
    """The packages named by strings such as "apikeys.logs.JobFilter", which Django or another library imports."""
    nodes = ast.walk(ast.parse(path.read_text()))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {name[1] for text in texts if (name := DOTTED_NAME.fullmatch(text))}


def drawn_imports() -> set[tuple[str, str]]:
    """The arrows between packages in docs/architecture.md, whose lines have the form a --> b --> c."""
    packages = (BASE / "docs/architecture.md").read_text().partition("## Packages")[2]
    picture = re.search(r"```mermaid\n(.*?)```", packages, re.DOTALL)[1]
    chains = [line.strip().split(" --> ") for line in picture.splitlines() if "-->" in line]
    return {arrow for chain in chains for arrow in pairwise(chain)}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports__run_one_way(package):
    assert modules(package)
    for path in modules(package):
        assert not (imported(path) | named(path)) & FORBIDDEN[package], path


def test_imports__are_those_of_the_picture():
    found = {
        (package, other)
        for package in PACKAGES
        for path in modules(package)
        for other in (imported(path) | named(path)) & PACKAGES - {package}
    }

    assert drawn_imports() == found


def test_tokens__need_the_standard_library_alone():
    assert imported(BASE / "apikeys" / "tokens.py") <= {"hashlib", "re", "secrets", "string", "zlib"}


def test_limits__need_the_standard_library_alone():
    assert imported(BASE / "apikeys" / "rate_limit" / "algorithm.py") <= {"dataclasses"}


def test_embedded__needs_no_django():
    for path in (BASE / "lockngen" / "database" / "embedded").glob("*.py"):
        assert "django" not in imported(path)


def test_embedded__runs_without_django():
    code = "import sys, lockngen.database.embedded; sys.exit('django' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=BASE).returncode == 0
