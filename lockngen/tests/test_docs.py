"""The documentation agrees with the code."""

import ast
import json
import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from apikeys.querysets import DEVELOPMENT_TOKEN
from lockngen.environment import BASE_DIR
from lockngen.urls import api

FUNCTIONS = "text|flag|integer|seconds|items|pairs|url|required|secret|secret_key|file_mode|folder_mode|database"
READS = re.compile(rf"\b({FUNCTIONS})\(\s*[\"']([A-Z0-9_]+)")
SOURCES = ["environment.py", "settings.py", "web/gunicorn.py", "management/commands/dev.py"]


def variables() -> set[str]:
    read = {
        match.groups() for source in SOURCES for match in READS.finditer((BASE_DIR / "lockngen" / source).read_text())
    }
    secrets = {name for function, name in read if function in ("required", "secret", "secret_key")}
    return {name for _, name in read} | {f"{name}_FILE" for name in secrets}


@pytest.mark.parametrize("document", [".env.example", "docs/configuration.md"])
def test_every_variable__is_documented(document):
    text = (BASE_DIR / document).read_text()

    assert len(variables()) > 20
    assert {name for name in variables() if not re.search(rf"\b{name}\b", text)} == set()


def test_env_example__names_nothing_that_is_not_read():
    named = set(re.findall(r"^#?([A-Z0-9_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))

    assert named <= variables()


def test_openapi_document__is_the_one_that_is_served():
    """Renew it with: manage.py export_openapi_schema --api lockngen.urls.api --indent 2 --output docs/openapi.json"""
    assert json.loads((BASE_DIR / "docs/openapi.json").read_text()) == json.loads(json.dumps(api.get_openapi_schema()))


def test_openapi_document__is_valid_and_names_its_operations_plainly():
    document = json.loads((BASE_DIR / "docs/openapi.json").read_text())
    operations = [operation for path in document["paths"].values() for operation in path.values()]

    OpenAPIV31SpecValidator(document).validate()
    for operation in operations:
        assert re.fullmatch("[a-z]+[A-Z][A-Za-z]+|getKey", operation["operationId"])
        assert {"400", "401", "405", "422", "500", "503"} <= operation["responses"].keys()
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (BASE_DIR / "docs").glob("*.md"))])
def test_links__lead_to_existing_files(document):
    path = BASE_DIR / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())

    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def places() -> list[str]:
    """The rows of "Where do I" in docs/architecture.md, without the question."""
    section = (BASE_DIR / "docs/architecture.md").read_text().partition("## Where do I")[2].partition("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| ") and "`" in row]
    return [row.split(" | ", 1)[1] for row in rows]


def defined(path: str) -> set[str]:
    """The functions, classes, variables and dictionary keys of a module."""
    nodes = list(ast.walk(ast.parse((BASE_DIR / path).read_text())))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {
        key.value for node in nodes if isinstance(node, ast.Dict) for key in node.keys if hasattr(key, "value")
    }


@pytest.mark.parametrize("place", places())
def test_where_do_i__names_files_and_functions_that_exist(place):
    quoted = re.findall(r"`([^`]+)`", place)
    files = {word for text in quoted for word in text.split() if re.match(r"\w+/", word)}
    names = {name for text in quoted if re.fullmatch(r"[\w.]+", text) for name in text.split(".")}

    assert files
    assert {path for path in files if not (BASE_DIR / path).exists()} == set()
    assert names <= set().union(*(defined(path) for path in files if path.endswith(".py")))


def test_readme__shows_the_development_key():
    shown = set(re.findall(r"lg_test_\w+", (BASE_DIR / "README.md").read_text()))

    assert shown == {DEVELOPMENT_TOKEN}
