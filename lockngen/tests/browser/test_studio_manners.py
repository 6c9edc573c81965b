"""What holds for all pages of the studio: keys, languages, colours and sizes of screens."""

import pytest
from django.test import RequestFactory
from playwright.sync_api import Locator, Page, expect

from lockngen.tests.browser.accessibility import flaws, flaws_of
from lockngen.tests.browser.screenshots import keep
from lockngen.web import error_pages

FAIL = """
    UPDATE generations_generation SET status = 3, error_message = 'Rendering failed.', completed_at = now()
    WHERE id = %(id)s
"""


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
    assert "\n".join(flaws(studio)) == ""
    studio.keyboard.press("n")
    expect(dialog).to_be_visible()
    studio.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    studio.keyboard.press("n")
    expect(studio.get_by_role("textbox", name="Prompt", exact=True)).to_be_focused()


def test_studio__is_accessible_and_fits_the_screen(fill_gallery, open_studio, service):
    fill_gallery(5)
    with service.paused_worker():
        service.execute(FAIL, id=service.create(prompt="a failure")["id"])
        service.create(prompt="a queue", n=2)
        studio = open_studio()
        expect(studio.locator(".queue li").first).to_be_visible()
        expect(studio.locator(".failures li").first).to_be_visible()
        expect(studio.locator(".tile").first).to_be_visible()
        studio.locator("summary", has_text="Advanced").click()
        studio.get_by_role("button", name="As code").click()
        studio.locator(".tile").first.get_by_role("checkbox").click()
        studio.get_by_role("button", name="Label").click()
        found = flaws(studio)
        studio.get_by_role("button", name="Clear").click()
        studio.locator(".tile").first.get_by_role("link").click()
        expect(studio.get_by_role("dialog", name="Image").get_by_role("button", name="Vary")).to_be_visible()
        found += flaws(studio)

    assert "\n".join(found) == ""


def test_bin__is_accessible_and_fits_the_screen(fill_gallery, open_studio):
    fill_gallery(2)
    studio = open_studio()
    studio.locator(".tile").first.get_by_role("checkbox").click()
    studio.get_by_role("form", name="Selection").get_by_role("button", name="Delete").click()
    studio.get_by_label("Status").select_option("bin")
    expect(studio.locator(".tile")).to_have_count(1)
    studio.locator(".tile").first.get_by_role("checkbox").click()

    assert "\n".join(flaws(studio)) == ""


@pytest.mark.parametrize("status", [404, 503])
def test_error_pages__are_accessible_and_fit_the_screen(page, status):
    html = error_pages.response(RequestFactory().get("/"), status).content.decode()
    page.route("**/an-error", lambda route: route.fulfill(body=html, content_type="text/html"))

    assert flaws_of(page, "/an-error") == []


MODULES = """() => performance.getEntriesByType('resource').map(({name}) => name.match(/studio\\/(\\w+)\\..*js$/)?.[1])
    .filter(Boolean)"""


def test_modules__are_loaded_once(studio):
    loaded = studio.evaluate(MODULES)

    assert "gallery" in loaded
    assert len(loaded) == len(set(loaded))


def test_studio__fits_every_screen(studio):
    for width in (320, 390, 768, 2560, 3840):
        studio.set_viewport_size({"width": width, "height": 900})

        assert studio.evaluate("document.documentElement.scrollWidth") <= width, width
        assert studio.get_by_role("button", name="Create").is_visible(), width


def test_studio__obeys_preferences_of_the_system(studio):
    create = studio.get_by_role("button", name="Create")

    studio.emulate_media(reduced_motion="reduce")
    assert create.evaluate("button => parseFloat(getComputedStyle(button).transitionDuration)") <= 0.001

    studio.emulate_media(forced_colors="active")  # which replaces the background that distinguishes it
    assert create.evaluate("button => getComputedStyle(button).borderTopWidth") == "2px"

    studio.emulate_media(media="print", forced_colors="none")
    expect(studio.get_by_role("navigation")).to_be_hidden()


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab doesn't lead to {target}.")


def test_studio__is_used_without_a_mouse(page, service):
    page.goto("/")
    press(page, "Tab", "Enter")  # skips the header
    tab_to(page, page.get_by_label("API key"))
    page.keyboard.type(service.token)
    press(page, "Enter")
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_be_focused()
    for prompt in ("a pier", "a pier in the rain"):
        page.keyboard.type(prompt)
        press(page, "Control+Enter")
        expect(page.get_by_role("img", name=prompt, exact=True)).to_be_visible(timeout=20_000)
        press(page, "Control+a")

    tab_to(page, page.locator(".tile a").first)
    press(page, "ArrowRight", "ArrowLeft", "Enter")
    dialog = page.get_by_role("dialog", name="Image", exact=True)
    expect(dialog.get_by_text("a pier in the rain")).to_be_visible()
    press(page, "j")
    expect(dialog.get_by_text("a pier", exact=True)).to_be_visible()
    press(page, "k")
    expect(dialog.get_by_text("a pier in the rain")).to_be_visible()
    press(page, "?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    press(page, "Escape")
    press(page, "Delete")
    expect(dialog.get_by_text("1 image moved to the bin.")).to_be_visible()
    tab_to(page, dialog.get_by_role("button", name="Undo"))
    press(page, "Enter", "Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".tile")).to_have_count(2)


def test_skip_link__leads_past_the_header(page):
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    expect(page.get_by_label("API key")).to_be_focused()


def test_language__is_chosen_at_the_foot_of_a_page(page):
    page.goto("/")
    page.get_by_role("button", name="Deutsch").click()

    expect(page.get_by_role("heading", name="Bilder, die nicht verloren gehen.")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "de"
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Images that don't get lost.")).to_be_visible()
