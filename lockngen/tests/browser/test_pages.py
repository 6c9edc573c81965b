"""The pages that need no login, and pages of other sites."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from lockngen.tests.browser.origins import TRY_FROM_ANOTHER_SITE, USE_FROM_ANOTHER_SITE
from lockngen.tests.browser.screenshots import keep
from lockngen.tests.support.dev import URL
from lockngen.tests.support.snippets import snippet


def test_greeting__leads_to_everything(page):
    page.goto("/")

    keep(page, "greeting")
    page.get_by_role("link", name="API reference").click()
    expect(page).to_have_url("/api/v1/docs")


def test_studio__makes_an_image(page):
    page.goto("/")
    page.get_by_role("button", name="Use the development key").click()

    page.locator("#prompt-text").fill("a lighthouse in the studio")
    page.get_by_role("button", name="Create").click()

    expect(page.get_by_role("img", name="a lighthouse in the studio")).to_be_visible(timeout=15_000)


def test_docs__let_a_newcomer_make_an_image(page, dev):
    page.goto("/api/v1/docs")
    page.get_by_role("button", name="Authorize").click()
    bearer = page.locator(".auth-container").filter(has_text="BearerToken")
    bearer.locator("input[type=text]").fill(dev.token)
    bearer.get_by_role("button", name="Apply credentials").click()
    bearer.get_by_role("button", name="Close").click()
    keep(page, "docs")
    page.locator("#operations-generations-createGeneration .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()

    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("201")


def test_health__is_a_page_as_well(page):
    page.goto("/ht/")

    keep(page, "health")
    expect(page.get_by_role("row", name="migrations")).to_contain_text("OK")


@pytest.fixture
def foreign_page(browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


def test_page_of_a_configured_origin__uses_the_api(foreign_page, origins, dev):
    token = dev.manage("apikey", "create", "Another site", "--rate-limit", "60").stdout.strip()
    foreign_page.goto(origins[0])

    shown = foreign_page.evaluate(USE_FROM_ANOTHER_SITE, [f"http://127.0.0.1:{dev.port}{URL}", token])

    assert 0 < shown.pop("remaining") < 60
    assert shown == {
        "status": 201,
        "location": True,
        "problem": "prompt",
        "type": "application/problem+json",
        "width": 64,
    }


def test_example_of_a_page__shows_its_image(foreign_page, origins, dev):
    foreign_page.goto(origins[0])

    foreign_page.set_content(snippet("A browser", "html", dev.port, dev.token))

    expect(foreign_page.locator("img")).to_have_js_property("naturalWidth", 768, timeout=20_000)
    expect(foreign_page.locator("progress")).to_have_js_property("value", 100)


def test_page_of_another_origin__is_refused(foreign_page, origins, dev):
    generation = dev.create(width=64, height=64)
    count = len(dev.newest())
    arguments = [f"http://127.0.0.1:{dev.port}{URL}", dev.token, generation["signed_urls"]["events"]]
    foreign_page.goto(origins[1])

    assert foreign_page.evaluate(TRY_FROM_ANOTHER_SITE, arguments) == ["refused"] * 3

    assert len(dev.newest()) == count
