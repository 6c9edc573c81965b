"""Which package may import which. Only settings and urls know all of them, by name."""

import ast
from pathlib import Path

import pytest

BASE = Path(__file__).resolve().parent.parent.parent
FORBIDDEN = {"lockngen": {"apikeys", "generations"}, "apikeys": {"generations"}, "generations": set()}


def modules(package: str) -> list[Path]:
    return [path for path in (BASE / package).rglob("*.py") if "tests" not in path.parts]


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports__run_one_way(package):
    assert modules(package)
    for path in modules(package):
        assert not imported(path) & FORBIDDEN[package], path


def test_tokens__need_the_standard_library_alone():
    assert imported(BASE / "apikeys" / "tokens.py") <= {"hashlib", "re", "secrets", "string", "zlib"}


def test_limits__need_the_standard_library_alone():
    assert imported(BASE / "apikeys" / "rate_limit" / "algorithm.py") <= {"dataclasses"}


def test_embedded__needs_no_django():
    for path in (BASE / "lockngen" / "database" / "embedded").glob("*.py"):
        assert "django" not in imported(path)
