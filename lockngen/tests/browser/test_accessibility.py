"""All pages are accessible and fit the screen."""

import pytest
from playwright.sync_api import expect

from lockngen.tests.browser.accessibility import VIEWS, flaws, flaws_of
from lockngen.tests.browser.screenshots import keep


def test_pages__are_accessible_and_fit_the_screen(page):
    assert flaws_of(page, "/", "/ht/", "/api/v1/docs", "/admin/login/") == []


def test_flaws__are_found_in_each_view(page):
    page.goto("/")
    page.evaluate("document.querySelector('nav').innerHTML = '<input>'")
    page.evaluate("Object.assign(document.querySelector('.card p').style, {color: '#999', background: '#888'})")

    found = [flaw.split()[1:4] for flaw in flaws(page)]

    assert [view for *view, rule in found if rule == "color-contrast:"] == [
        [scheme, str(width)] for scheme, width, _ in VIEWS
    ]
    assert [view for *view, rule in found if rule == "label:"] == [["light", "1280"], ["dark", "390"]]


def test_admin__of_generations_is_accessible_and_fits_the_screen(admin, service):
    id = service.wait_for(service.create(prompt="a lighthouse")["id"], "completed")["id"]
    generations = "/admin/generations/generation/"

    assert flaws_of(admin, "/admin/status/", generations, f"{generations}{id}/change/") == []


def test_admin__of_keys_is_accessible_and_fits_the_screen(key_page):
    found = flaws(key_page)
    key_page.get_by_role("link", name="continue to the key").click()
    found += flaws(key_page)
    key_page.get_by_role("button", name="Revoke").click()
    found += flaws(key_page)
    key_page.goto("/admin/apikeys/apikey/")
    expect(key_page.get_by_role("link", name="Browser", exact=True).first).to_be_visible()
    keep(key_page, "admin-keys")
    found += flaws(key_page)

    assert found == []


@pytest.mark.faults
def test_admin__on_its_rarer_pages_is_accessible_and_fits_the_screen(key_page, service):
    id = service.wait_for(service.create(prompt="a lighthouse")["id"], "completed")["id"]
    generation, keys = f"/admin/generations/generation/{id}", "/admin/apikeys/apikey/"
    key_page.get_by_role("link", name="continue to the key").click()
    key = key_page.url
    key_page.get_by_role("button", name="Rotate").click()
    found = flaws(key_page)
    found += flaws_of(key_page, f"{keys}add/", key.replace("change", "delete"), "/admin/apikeys/keyevent/")
    found += flaws_of(key_page, "/admin/", f"{generation}/delete/", f"{generation}/history/")
    key_page.goto(keys)
    key_page.locator("#result_list tbody tr").first.get_by_role("checkbox").check()
    key_page.get_by_label("Action:").select_option("delete_selected")
    key_page.get_by_role("button", name="Go").click()
    found += flaws(key_page)

    assert found == []


@pytest.mark.faults
def test_admin__of_users_is_accessible_and_fits_the_screen(admin):
    users = "/admin/auth/user/"

    assert flaws_of(admin, users, f"{users}add/", f"{users}1/change/", "/admin/password_change/") == []
