"""By which addresses the studio's pages load their scripts."""

import re

import pytest
from django.test import Client

from generations.templatetags.studio import MODULES
from lockngen.environment import BASE_DIR


def test_modules__are_loaded_by_one_address_each():
    """A page's own module has a digest in its address in production. Imports have none, so they must not name it."""
    folder = BASE_DIR / "generations"
    loaded = {
        name
        for page in (folder / "templates/studio").glob("*.html")
        for name in re.findall(r"static 'studio/(\w+\.js)'", page.read_text())
    }
    imported = {
        name
        for module in (folder / "static/studio").glob("*.js")
        for name in re.findall(r"""^import .*["']\./(\w+\.js)["'];$""", module.read_text(), re.MULTILINE)
    }

    assert loaded == {"studio.js", "operator.js"}
    assert loaded.isdisjoint(imported)
    assert {path.name for path in (folder / "static/studio").glob("*.js")} == loaded | imported
    assert {f"{name}.js" for name in MODULES["studio"]} == imported


@pytest.mark.django_db
def test_scripts__are_preloaded_by_the_addresses_that_are_used(key):
    browser = Client()
    browser.post("/studio/sign-in", {"token": key.token})

    page = browser.get("/").content.decode()

    modules = re.findall(r'<link rel="modulepreload" href="(.*?)">', page)
    assert modules == [f"/static/studio/{name}.js" for name in MODULES["studio"]]
    (script,) = re.findall(r'<link rel="preload" as="script" href="(.*?)">', page)
    assert f'<script src="{script}" defer></script>' in page
