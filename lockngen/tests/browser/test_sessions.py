"""Several windows, a web that is restarted, and a key that is revoked."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from lockngen.tests.browser.conftest import send_form
from lockngen.tests.browser.test_studio import RENDERED, create, tile

AWAY = "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|htmx:(afterRequest|sendError)|Failed to fetch|^undefined$"
REVOKED = "status of 401|htmx:responseError|Status Error Code 401|MIME type"
ZIP = "/studio/selection/images.zip"


# Collects the events of the session's key.
COLLECT = """() => {
    window.received = [];
    const events = new EventSource('/studio/events');
    for (const name of ['generation', 'progress', 'changed']) {
        events.addEventListener(name, ({data}) => window.received.push(data));
    }
    return new Promise((resolve) => { events.onopen = () => resolve(); });
}"""


def test_windows_of_a_key__show_its_events_and_those_of_another_nothing(open_studio, service):
    owner, stranger = open_studio(), open_studio(token=service.make_token())
    for page in (owner, stranger):
        page.evaluate(COLLECT)

    create(owner, "a lighthouse")
    expect(tile(owner, "a lighthouse")).to_be_visible(timeout=RENDERED)

    owner.wait_for_function("window.received.length > 0")
    assert stranger.evaluate("window.received") == []
    id = tile(owner, "a lighthouse").get_attribute("data-id")
    for path in (f"images/{id}", f"thumbnails/{id}", f"generations/{id}", f"generations/{id}/download.png"):
        assert owner.context.request.get(f"/studio/{path}").status == 200, path
        assert stranger.context.request.get(f"/studio/{path}").status == 404, path
    stranger.reload()
    expect(stranger.get_by_text("Your images will appear here.")).to_be_visible()


def test_two_windows__show_the_same_also_after_a_restart_of_the_web(open_studio, service):
    first = open_studio(expected=AWAY)
    second = first.context.new_page()
    second.goto("/")
    create(first, "a lighthouse")
    expect(tile(second, "a lighthouse")).to_be_visible(timeout=RENDERED)

    with service.stopped_web():
        pass
    create(first, "a lighthouse after the restart")
    for page in (first, second):
        expect(tile(page, "a lighthouse after the restart")).to_be_visible(timeout=RENDERED)
        expect(page.get_by_text("Nothing is waiting.")).to_be_visible()

    tile(second, "a lighthouse").click()
    expect(second.get_by_role("dialog", name="Image")).to_be_visible()
    second.keyboard.press("Delete")
    expect(tile(first, "a lighthouse")).to_have_count(0)


@pytest.fixture
def revoke(admin, service) -> Callable[[str], None]:
    """Revoke the key of a token, as an admin does."""

    def revoke(token: str) -> None:
        id = service.value("SELECT id FROM apikeys_apikey WHERE prefix = %(prefix)s", prefix=token[:14])
        keys = "/admin/apikeys/apikey/"
        send_form(admin.context, keys, keys, action="revoke", _selected_action=str(id), post="1")

    return revoke


def test_revoked_key__is_out_at_the_next_click_and_its_open_stream_ends(fill_gallery, open_studio, service, revoke):
    fill_gallery(2)
    idle, clicked = (open_studio(expected=REVOKED) for _ in range(2))
    image = clicked.locator(".tile a").first.get_attribute("href")
    archive = {
        "ids": clicked.locator(".tile").first.get_attribute("data-id"),
        "csrfmiddlewaretoken": clicked.locator("[name=csrfmiddlewaretoken]").first.input_value(),
    }
    client = clicked.context.request
    assert client.get(image).headers["content-type"] == "image/png"
    assert client.post(ZIP, form=archive).headers["content-type"] == "application/zip"

    revoke(service.token)

    assert client.get(image, max_redirects=0).headers["location"] == "/"
    assert client.post(ZIP, form=archive, max_redirects=0).headers["location"] == "/"
    clicked.goto("/?status=failed")  # the end of its stream may have led it out already
    expect(clicked.get_by_role("button", name="Open the studio")).to_be_visible()
    expect(idle.get_by_role("button", name="Open the studio")).to_be_visible(timeout=20_000)
