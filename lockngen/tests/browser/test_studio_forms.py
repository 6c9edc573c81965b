"""The studio's forms keep what is typed while their request is under way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect


@contextmanager
def request_under_way(page: Page, pattern: str, send: Callable[[], None]) -> Iterator[None]:
    """The request waits until the block has ended, which ends with its response."""
    waiting = []
    page.route(pattern, lambda route: waiting.append(route))
    with page.expect_request(pattern):
        send()
    yield
    with page.expect_response(pattern):
        for route in waiting:
            route.continue_()
    page.unroute(pattern)


def test_prompt_form__keeps_what_is_typed_meanwhile(studio):
    prompt, labels = studio.get_by_role("textbox", name="Prompt", exact=True), studio.locator("#labels")
    studio.get_by_text("Advanced").click()
    labels.fill("two words")
    prompt.fill("a lighthouse")

    with request_under_way(studio, "**/studio/generations", lambda: prompt.press("Control+Enter")):
        studio.get_by_label("Steps").fill("12")
        prompt.press_sequentially(" at dusk")
    expect(labels).to_be_focused()
    expect(prompt).to_have_value("a lighthouse at dusk")
    expect(studio.get_by_label("Steps")).to_have_value("12")

    labels.fill("project=harbour")
    with request_under_way(studio, "**/studio/generations", lambda: labels.press("Control+Enter")):
        labels.press_sequentially("2")
    expect(studio.locator("#form-status")).to_have_text("1 image is queued.")
    expect(labels).to_have_attribute("aria-invalid", "false")
    expect(labels).to_have_value("project=harbour2")
    expect(labels).to_be_focused()


def test_label_editor__keeps_what_is_typed_meanwhile(studio, service):
    generation = service.wait_for(service.create(prompt="a lighthouse")["id"], "completed")
    studio.goto(f"/?image={generation['id']}")
    labels = studio.locator("#edit-labels")
    labels.fill("two words")

    with request_under_way(studio, "**/labels", lambda: labels.press("Enter")):
        labels.press_sequentially("=1")
    expect(labels).to_have_attribute("aria-invalid", "true")
    expect(labels).to_have_value("two words=1")

    labels.fill("project=harbour")
    labels.press("Enter")
    expect(studio.get_by_text("Saved.")).to_be_visible()
    expect(studio.locator("#edit-labels-error")).to_be_empty()
