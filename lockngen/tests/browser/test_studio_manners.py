"""What holds for all pages of the studio: keys, languages, colours and sizes of screens."""

import pytest
from django.test import RequestFactory
from playwright.sync_api import Page, expect

from lockngen.tests.browser.accessibility import flaws, flaws_of
from lockngen.tests.browser.screenshots import keep
from lockngen.web import error_pages


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
    assert "\n".join(flaws(studio)) == ""
    studio.keyboard.press("n")
    expect(dialog).to_be_visible()
    studio.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    studio.keyboard.press("n")
    expect(studio.get_by_role("textbox", name="Prompt", exact=True)).to_be_focused()


def test_studio__is_accessible_and_fits_the_screen(studio, dev):
    dev.wait_for(dev.create(prompt="a lighthouse at dusk")["id"], "completed")
    dev.create(prompt="a queue", width=2048, height=2048, n=4)
    expect(studio.locator(".queue li").first).to_be_visible()

    found = flaws(studio)
    studio.locator("summary", has_text="Advanced").click()
    studio.get_by_role("button", name="As code").click()
    found += flaws(studio)
    studio.locator(".tile").first.click()
    expect(studio.get_by_role("dialog", name="Image", exact=True)).to_be_visible()
    found += flaws(studio)

    assert "\n".join(found) == ""


def test_operator_page__is_accessible_and_fits_the_screen(admin):
    found = flaws_of(admin, "/studio/keys", "/studio/operator")
    keep(admin, "studio-operator")

    assert "\n".join(found) == ""


@pytest.mark.parametrize("status", [404, 503])
def test_error_pages__are_accessible_and_fit_the_screen(page, status):
    html = error_pages.response(RequestFactory().get("/"), status).content.decode()
    page.route("**/an-error", lambda route: route.fulfill(body=html, content_type="text/html"))

    assert flaws_of(page, "/an-error") == []


@pytest.mark.parametrize("width", [320, 390, 768, 2560, 3840])
def test_studio__fits_every_screen(studio, width):
    studio.set_viewport_size({"width": width, "height": 900})

    assert studio.evaluate("document.documentElement.scrollWidth") <= width
    assert studio.get_by_role("button", name="Create").is_visible()


def test_studio__obeys_preferences_of_the_system(studio):
    create = studio.get_by_role("button", name="Create")

    studio.emulate_media(reduced_motion="reduce")
    assert create.evaluate("button => parseFloat(getComputedStyle(button).transitionDuration)") <= 0.001

    studio.emulate_media(forced_colors="active")  # which replaces the background that distinguishes it
    assert create.evaluate("button => getComputedStyle(button).borderTopWidth") == "2px"

    studio.emulate_media(media="print", forced_colors="none")
    expect(studio.get_by_role("navigation")).to_be_hidden()


def test_studio__is_used_without_a_mouse(studio, dev):
    dev.wait_for(dev.create(prompt="a pier")["id"], "completed")
    studio.goto("/")
    expect(studio.get_by_role("textbox", name="Prompt", exact=True)).to_be_focused()

    studio.keyboard.type("a pier in the rain")
    studio.keyboard.press("Control+Enter")

    expect(studio.get_by_role("img", name="a pier in the rain")).to_be_visible(timeout=20_000)
    studio.get_by_role("img", name="a pier in the rain").locator("..").focus()
    studio.keyboard.press("Enter")
    dialog = studio.get_by_role("dialog", name="Image", exact=True)
    expect(dialog.get_by_text("a pier in the rain")).to_be_visible()
    studio.keyboard.press("j")
    expect(dialog.get_by_text("a pier", exact=True)).to_be_visible()
    studio.keyboard.press("k")
    expect(dialog.get_by_text("a pier in the rain")).to_be_visible()
    studio.keyboard.press("?")
    expect(studio.get_by_role("dialog", name="Keyboard")).to_be_visible()
    studio.keyboard.press("Escape")
    studio.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


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


def test_operator_page__refreshes_without_moving_focus_or_scroll(admin, dev):
    admin.clock.install()
    admin.set_viewport_size({"width": 390, "height": 500})
    admin.goto("/studio/operator")
    before = admin.locator(".as-of").inner_text()
    link = admin.get_by_role("link", name="Database, webhooks and retention")
    link.focus()
    scroll = admin.evaluate("scrollY")

    dev.wait_for(dev.create(prompt="a lighthouse")["id"], "completed")
    admin.wait_for_timeout(1000)  # the time shown has seconds
    admin.clock.fast_forward("00:06")

    expect(admin.locator(".as-of")).not_to_have_text(before)
    expect(link).to_be_focused()
    assert scroll > 0
    assert admin.evaluate("scrollY") == scroll
    expect(admin.locator(".chart .completed").last).to_be_attached()


def test_operator_page__keeps_its_figures_while_the_database_is_away(browser, dev, session):
    page = browser.new_page(base_url=f"http://127.0.0.1:{dev.port}", storage_state=session)
    page.goto("/studio/operator")
    page.route("**/studio/operator", lambda route: route.fulfill(status=503, body="unavailable"))
    status = page.get_by_role("status")

    page.evaluate("htmx.trigger('#figures', 'refresh')")
    expect(status).to_contain_text("can't be reached")
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()

    page.unroute("**/studio/operator")
    page.evaluate("htmx.trigger('#figures', 'refresh')")
    expect(status).to_have_text("")
    page.close()
