"""Every text of the studio and the error pages has a German translation. bin/messages collects and compiles them."""

import os
import shutil
import subprocess
from gettext import GNUTranslations
from pathlib import Path

import pytest
from django.core.management import call_command

from lockngen.environment import BASE_DIR

CATALOG = Path("locale/de/LC_MESSAGES")
APPS = ["generations", "lockngen"]

needs_gettext = pytest.mark.skipif(shutil.which("xgettext") is None, reason="no gettext on this machine")


def translations(folder: Path) -> dict:
    with (folder / CATALOG / "django.mo").open("rb") as file:
        return {text: translation for text, translation in GNUTranslations(file)._catalog.items() if text}


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> Path:
    """Copies of the apps whose catalogs were made from their sources."""
    folder = tmp_path_factory.mktemp("collected")
    before = Path.cwd()
    for app in APPS:
        shutil.copytree(BASE_DIR / app, folder / app, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    os.chdir(folder)  # the commands work on the files of the current folder
    try:
        call_command("makemessages", locale=["de"], no_location=True, no_obsolete=True, verbosity=0)
        call_command("compilemessages", locale=["de"], verbosity=0)
    finally:
        os.chdir(before)
    return folder


@needs_gettext
@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("missing", ["--untranslated", "--only-fuzzy"])
def test_every_text__is_translated(collected, app, missing):
    command = ["msgattrib", missing, "--no-obsolete", collected / app / CATALOG / "django.po"]

    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert found == "", "run bin/messages and translate these"


@needs_gettext
@pytest.mark.parametrize("app", APPS)
def test_compiled_translations__are_those_of_the_sources(collected, app):
    assert translations(BASE_DIR / app) == translations(collected / app), "run bin/messages"


@pytest.mark.parametrize("app", APPS)
def test_compiled_translations__keep_placeholders_and_names(app):
    found = translations(BASE_DIR / app)

    assert len(found) > 10
    for text, translation in found.items():
        source = text[0] if isinstance(text, tuple) else text
        for part in source.split():
            if part.startswith("%(") or (part.isupper() and len(part) > 4):
                assert part.strip(".,:;") in translation, source
