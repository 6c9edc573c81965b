"""Every text of the studio and the error pages has a German translation. bin/messages collects and compiles them."""

import shutil
import subprocess
import sys
from gettext import GNUTranslations
from pathlib import Path

import pytest

from lockngen.environment import BASE_DIR

CATALOG = Path("locale/de/LC_MESSAGES")
APPS = ["generations", "lockngen"]

needs_gettext = pytest.mark.skipif(shutil.which("xgettext") is None, reason="no gettext on this machine")


def translations(folder: Path) -> dict:
    with (folder / CATALOG / "django.mo").open("rb") as file:
        return {text: translation for text, translation in GNUTranslations(file)._catalog.items() if text}


@pytest.fixture
def collected(request, tmp_path) -> Path:
    """A copy of the app whose catalog was made from its sources."""
    folder = tmp_path / request.param
    shutil.copytree(BASE_DIR / request.param, folder, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    for command in (["makemessages", "--no-location", "--no-obsolete"], ["compilemessages"]):
        manage = [sys.executable, BASE_DIR / "manage.py", *command, "--locale", "de"]
        subprocess.run(manage, cwd=folder, check=True, capture_output=True)
    return folder


@needs_gettext
@pytest.mark.parametrize("collected", APPS, indirect=True)
def test_every_text__is_translated(collected):
    for missing in ("--untranslated", "--only-fuzzy"):
        command = ["msgattrib", missing, "--no-obsolete", collected / CATALOG / "django.po"]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout

        assert found == "", "run bin/messages and translate these"


@needs_gettext
@pytest.mark.parametrize("collected", APPS, indirect=True)
def test_compiled_translations__are_those_of_the_sources(collected):
    assert translations(BASE_DIR / collected.name) == translations(collected), "run bin/messages"


@pytest.mark.parametrize("app", APPS)
def test_compiled_translations__keep_placeholders_and_names(app):
    found = translations(BASE_DIR / app)

    assert len(found) > 10
    for text, translation in found.items():
        source = text[0] if isinstance(text, tuple) else text
        for part in source.split():
            if part.startswith("%(") or (part.isupper() and len(part) > 4):
                assert part.strip(".,:;") in translation, source
