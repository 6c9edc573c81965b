"""What holds for all pages of the studio: keys, languages, colours and sizes of screens."""

import pytest
from playwright.sync_api import Page, expect

from lockngen.tests.browser.accessibility import flaws
from lockngen.tests.browser.screenshots import keep


@pytest.fixture
def studio(page) -> Page:
    page.goto("/")
    page.get_by_role("button", name="Use the development key").click()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    return page


def test_question_mark__shows_the_keys(studio):
    studio.locator("body").click(position={"x": 5, "y": 800})
    studio.keyboard.press("/")
    expect(studio.get_by_role("searchbox")).to_be_focused()

    studio.keyboard.press("?")
    expect(studio.get_by_role("searchbox")).to_have_value("?")
    studio.get_by_role("searchbox").fill("")
    studio.locator("body").click(position={"x": 5, "y": 800})
    studio.keyboard.press("?")

    dialog = studio.get_by_role("dialog", name="Keyboard")
    expect(dialog.get_by_text("Search the images")).to_be_visible()
    expect(dialog.get_by_text("Pause or resume")).to_be_hidden()
    keep(studio, "studio-keys")
    assert flaws(studio) == []
    studio.keyboard.press("n")
    expect(dialog).to_be_visible()
    studio.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    studio.keyboard.press("n")
    expect(studio.get_by_role("textbox", name="Prompt", exact=True)).to_be_focused()
