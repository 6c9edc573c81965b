"""What the documentation says is what the code does."""

import json
import re
import subprocess

import pytest
from PIL import Image

from apikeys.models import DEVELOPMENT_TOKEN
from lockngen.environment import BASE_DIR
from lockngen.urls import api

READS = re.compile(r"env\.(?:text|flag|integer|seconds|items|url|required)\(\s*[\"']([A-Z_]+)")
SOURCES = ["lockngen/settings.py", "lockngen/gunicorn.py", "lockngen/management/commands/dev.py"]


def variables() -> set[str]:
    found = {match[1] for source in SOURCES for match in READS.finditer((BASE_DIR / source).read_text())}
    return found | set(
        re.findall(r'(?:text|database|integer)\("([A-Z_]+)"', (BASE_DIR / "lockngen/environment.py").read_text())
    )


@pytest.mark.parametrize("document", [".env.example", "docs/configuration.md"])
def test_every_variable__is_documented(document):
    text = (BASE_DIR / document).read_text()

    assert len(variables()) > 20
    assert {name for name in variables() if not re.search(rf"\b{name}\b", text)} == set()


def test_env_example__names_nothing_that_is_not_read():
    named = set(re.findall(r"^#?([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))

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


def test_readme_s_tour__works_as_pasted(dev, tmp_path):
    (tour,) = re.findall(r"```sh\n(.*?)```", (BASE_DIR / "README.md").read_text(), re.DOTALL)

    done = subprocess.run(
        ["bash", "-ec", tour.replace(":8000/", f":{dev.port}/")], cwd=tmp_path, capture_output=True, text=True
    )

    answers = [json.loads(line) for line in done.stdout.replace("}{", "}\n{").splitlines()]
    assert done.returncode == 0, done.stderr
    assert answers[0]["width"] == 1024
    assert answers[0]["id"] in [item["id"] for item in answers[1]["items"]]
    assert answers[3]["id"] == answers[0]["id"]
    assert answers[0]["id"] not in [item["id"] for item in dev.newest()]
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (1024, 576)


def test_stream_of_the_api_s_documentation__works_as_pasted(dev):
    (example,) = re.findall(r"```sh\n(.*?)```", (BASE_DIR / "docs/api.md").read_text(), re.DOTALL)

    done = subprocess.run(
        ["bash", "-ec", example.replace(":8000/", f":{dev.port}/")], capture_output=True, text=True, timeout=30
    )

    events = re.findall(r"event: (\w+)\ndata: (.*)\n", done.stdout)
    assert [name for name, _ in events][-2:] == ["progress", "end"], done
    assert json.loads(events[-1][1]) == dev.newest()[0]
    assert json.loads(events[-1][1])["status"] == "completed"
