"""The operator's page in a real Chromium."""

import pytest
from playwright.sync_api import expect

from lockngen.tests.browser.accessibility import flaws_of
from lockngen.tests.browser.screenshots import keep


def test_operator_page__is_accessible_and_fits_the_screen(admin):
    found = flaws_of(admin, "/studio/keys", "/studio/operator")
    keep(admin, "studio-operator")

    assert "\n".join(found) == ""


def test_operator_page__refreshes_without_moving_focus_or_scroll(admin, service):
    admin.clock.install()
    admin.set_viewport_size({"width": 390, "height": 500})
    admin.goto("/studio/operator")
    before = admin.locator(".as-of").inner_text()
    link = admin.get_by_role("link", name="Database, webhooks and retention")
    link.focus()
    scroll = admin.evaluate("scrollY")

    service.wait_for(service.create()["id"], "completed")
    admin.wait_for_timeout(1000)  # the time shown has seconds
    admin.clock.fast_forward("00:06")

    expect(admin.locator(".as-of")).not_to_have_text(before)
    expect(link).to_be_focused()
    assert scroll > 0
    assert admin.evaluate("scrollY") == scroll
    expect(admin.locator(".chart .completed").last).to_be_attached()


@pytest.mark.faults
def test_operator_page__keeps_its_figures_while_the_database_is_away(open_page, session, service):
    page = open_page(storage_state=session, expected="status of 503|htmx:responseError|Response Status Error Code 503")
    page.goto("/studio/operator")
    waiting = page.locator(".tiles dd").first
    expect(waiting).to_have_text("0")
    status = page.get_by_role("status")

    with service.stopped_database():
        page.evaluate("htmx.trigger('#figures', 'refresh')")
        expect(status).to_contain_text("can't be reached", timeout=20_000)
        expect(waiting).to_have_text("0")
        expect(page.get_by_role("heading", name="Workers")).to_be_visible()

    with service.paused_worker():
        service.create(n=3)
        page.evaluate("htmx.trigger('#figures', 'refresh')")
        expect(status).to_have_text("", timeout=20_000)
        expect(waiting).to_have_text("3")
