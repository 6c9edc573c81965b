"""What the documentation says is what the code does."""

import json
import re

import pytest

from apikeys.models import DEVELOPMENT_TOKEN
from lockngen.environment import BASE_DIR
from lockngen.urls import api

READS = re.compile(r"env\.(?:text|flag|integer|seconds|items|url|required|secret_key|file_mode)\(\s*[\"']([A-Z0-9_]+)")
SOURCES = ["lockngen/settings.py", "lockngen/gunicorn.py", "lockngen/management/commands/dev.py"]


def variables() -> set[str]:
    found = {match[1] for source in SOURCES for match in READS.finditer((BASE_DIR / source).read_text())}
    return found | set(
        re.findall(r'(?:text|database|integer)\("([A-Z0-9_]+)"', (BASE_DIR / "lockngen/environment.py").read_text())
    )


@pytest.mark.parametrize("document", [".env.example", "docs/configuration.md"])
def test_every_variable__is_documented(document):
    text = (BASE_DIR / document).read_text()

    assert len(variables()) > 20
    assert {name for name in variables() if not re.search(rf"\b{name}\b", text)} == set()


def test_env_example__names_nothing_that_is_not_read():
    named = set(re.findall(r"^#?([A-Z0-9_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))

    assert named - {"DATABASE_URL", "LOCKNGEN_DATA"} <= variables()


def test_openapi_document__is_the_one_that_is_served():
    """Renew it with: manage.py export_openapi_schema --api lockngen.urls.api --indent 2 --output docs/openapi.json"""
    assert json.loads((BASE_DIR / "docs/openapi.json").read_text()) == json.loads(json.dumps(api.get_openapi_schema()))


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (BASE_DIR / "docs").glob("*.md"))])
def test_links__lead_to_files_that_are_there(document):
    path = BASE_DIR / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())

    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_readme__shows_the_development_key():
    shown = set(re.findall(r"lg_test_\w+", (BASE_DIR / "README.md").read_text()))

    assert shown == {DEVELOPMENT_TOKEN}
