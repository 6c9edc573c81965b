"""The pages that need no login, and pages of other sites."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from lockngen.tests.browser.origins import TRY_FROM_ANOTHER_SITE, USE_FROM_ANOTHER_SITE
from lockngen.tests.browser.screenshots import keep
from lockngen.tests.support.dev import URL, running_devs
from lockngen.tests.support.embedded_servers import open_folder
from lockngen.tests.support.snippets import snippet


def test_greeting__leads_to_everything(page):
    page.goto("/")

    keep(page, "greeting")
    page.get_by_role("link", name="API reference").click()
    expect(page).to_have_url("/api/v1/docs")


@pytest.mark.faults
def test_development_key__opens_the_studio_with_one_click(browser):
    with open_folder() as folder, running_devs(folder) as make_dev:
        page = browser.new_page(base_url=f"http://127.0.0.1:{make_dev().port}")
        page.goto("/")

        page.get_by_role("button", name="Use the development key").click()

        expect(page.get_by_role("heading", name="Queue")).to_be_visible()
        page.close()


def test_docs__let_a_newcomer_make_an_image(page, service):
    page.goto("/api/v1/docs")
    page.get_by_role("button", name="Authorize").click()
    bearer = page.locator(".auth-container").filter(has_text="BearerToken")
    bearer.locator("input[type=text]").fill(service.token)
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


def test_page_of_a_configured_origin__uses_the_api(foreign_page, origins, service):
    token = service.make_token(rate_limit=60)
    foreign_page.goto(origins[0])

    shown = foreign_page.evaluate(USE_FROM_ANOTHER_SITE, [f"{service.origin}{URL}", token])

    assert 0 < shown.pop("remaining") < 60
    assert shown == {
        "status": 201,
        "location": True,
        "problem": "prompt",
        "type": "application/problem+json",
        "width": 64,
    }


def test_example_of_a_page__shows_its_image(foreign_page, origins, service):
    foreign_page.goto(origins[0])

    foreign_page.set_content(snippet("A browser", "html", service.port, service.token))

    expect(foreign_page.locator("img")).to_have_js_property("naturalWidth", 768, timeout=20_000)
    expect(foreign_page.locator("progress")).to_have_js_property("value", 100)


def test_page_of_another_origin__is_refused(foreign_page, origins, service):
    generation = service.create(width=64, height=64)
    count = len(service.newest())
    arguments = [f"{service.origin}{URL}", service.token, generation["signed_urls"]["events"]]
    foreign_page.goto(origins[1])

    assert foreign_page.evaluate(TRY_FROM_ANOTHER_SITE, arguments) == ["refused"] * 3

    assert len(service.newest()) == count
