"""The pages as a person meets them: a real Chromium against a real, whole LockN Gen."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from lockngen.tests.accessibility import flaws, flaws_of
from lockngen.tests.origins import TRY_FROM_ANOTHER_SITE, USE_FROM_ANOTHER_SITE, serve_origin
from lockngen.tests.support.dev import URL

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder that gets a picture of every page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PROMPTS = ["a lighthouse at dusk", "snow on the mountains", "a neon city by the river", "dunes under a large sun"]


@pytest.fixture(scope="module")
def origins() -> Iterator[list[str]]:
    """Two other sites: the first is in CORS_ALLOWED_ORIGINS."""
    with ExitStack() as servers:
        yield [servers.enter_context(serve_origin()) for _ in range(2)]


@pytest.fixture(scope="module")
def dev(make_dev, origins):
    return make_dev(CORS_ALLOWED_ORIGINS=origins[0])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, dev) -> Iterator[Callable[..., Page]]:
    """Open pages in a context of their own; an error on one, or a request to another site, fails the test."""
    errors, pages = [], []

    def open_page(**options) -> Page:
        address = f"http://127.0.0.1:{dev.port}"
        page = browser.new_page(viewport={"width": 1280, "height": 860}, base_url=address, **options)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: errors.append(request.url) if foreign(request.url, dev.port) else None)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert errors == []


@pytest.fixture
def page(open_page) -> Page:
    return open_page()


def foreign(url: str, port: int) -> bool:
    return not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))


def keep(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


@pytest.fixture(scope="module")
def admin_user(dev) -> tuple[str, str]:
    password = "correct horse battery"
    variables = {"DJANGO_SUPERUSER_PASSWORD": password}
    done = dev.manage("createsuperuser", "--noinput", "--username=ann", "--email=ann@example.org", **variables)
    assert done.returncode == 0, done.stderr
    return "ann", password


@pytest.fixture(scope="module")
def session(browser, dev, admin_user) -> StorageState:
    """The cookies after a login."""
    page = browser.new_page(base_url=f"http://127.0.0.1:{dev.port}")
    page.goto("/admin/")
    page.get_by_label("Username").fill(admin_user[0])
    page.get_by_label("Password").fill(admin_user[1])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Administration")).to_be_visible()
    state = page.context.storage_state()
    page.close()
    return state


@pytest.fixture
def admin(open_page, session) -> Page:
    return open_page(storage_state=session)


def test_greeting__leads_to_everything(page):
    page.goto("/")

    keep(page, "greeting")
    page.get_by_role("link", name="API").click()
    expect(page).to_have_url("/api/v1/docs")


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


def test_admin__shows_images_and_deletes_and_restores_them(admin, dev):
    for number, prompt in enumerate(PROMPTS):
        dev.wait_for(dev.create(prompt=prompt, seed=number)["id"], "completed")

    admin.goto("/admin/generations/generation/")
    for number in range(4):
        admin.locator(".field-thumbnail img").nth(number).evaluate("image => image.decode()")
    keep(admin, "admin-generations")

    admin.locator("#result_list tbody tr").first.get_by_role("checkbox").check()
    admin.get_by_label("Action:").select_option("delete_selected")
    admin.get_by_role("button", name="Go").click()
    expect(admin.get_by_text("can be restored here")).to_be_visible()
    admin.get_by_role("button", name="Yes, delete").click()
    expect(admin.get_by_text("Successfully deleted 1 generation.")).to_be_visible()
    assert PROMPTS[-1] not in [generation["prompt"] for generation in dev.newest()]

    admin.locator("#changelist-filter").get_by_role("link", name="Yes").first.click()
    admin.locator("#result_list tbody tr").first.get_by_role("checkbox").check()
    admin.get_by_label("Action:").select_option("restore")
    admin.get_by_role("button", name="Go").click()
    expect(admin.get_by_text("Restored: 1.")).to_be_visible()
    assert PROMPTS[-1] in [generation["prompt"] for generation in dev.newest()]


def test_admin__shows_one_generation_without_a_way_to_change_it(admin, dev):
    id = dev.wait_for(dev.create(prompt=PROMPTS[0])["id"], "completed")["id"]

    admin.goto(f"/admin/generations/generation/{id}/change/")

    image = admin.locator(".field-full_image img")
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") == 512
    keep(admin, "admin-generation")
    assert admin.get_by_role("button", name="Save").count() == 0


@pytest.fixture
def key_page(admin) -> Page:
    """The admin at the page that shows the token of a key which was made there."""
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    admin.goto("/admin/apikeys/apikey/add/")
    admin.get_by_label("Name").fill("Browser")
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_role("heading", name="Key created")).to_be_visible()
    keep(admin, "admin-token")
    return admin


def shown_token(page: Page) -> str:
    return page.get_by_label("Token").input_value()


def test_admin__makes_a_key_and_shows_its_token_once(key_page, dev):
    token = shown_token(key_page)
    assert dev.answers_to(token) == 200

    key_page.get_by_role("button", name="Copy").click()
    expect(key_page.get_by_role("button", name="Copied")).to_be_visible()
    assert key_page.evaluate("navigator.clipboard.readText()") == token

    # Without TLS, and not on this machine, a browser has no clipboard for scripts.
    key_page.evaluate("navigator.clipboard.writeText('nothing')")
    key_page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    key_page.get_by_role("button", name="Copied").click()
    key_page.get_by_label("Token").evaluate("field => { field.readOnly = false; field.value = ''; field.focus() }")
    key_page.keyboard.press("Control+V")
    expect(key_page.get_by_label("Token")).to_have_value(token)

    key_page.reload()  # which sends the form again
    expect(key_page.get_by_text("already exists")).to_be_visible()
    assert token not in key_page.content()
    assert dev.count(f"apikeys_apikey WHERE prefix = '{token[:14]}'") == 1
    assert dev.count("apikeys_apikey WHERE name = 'Browser'") == 1


def test_admin__rotates_and_revokes_a_key(key_page, dev):
    old = shown_token(key_page)
    key_page.get_by_role("link", name="continue to the key").click()
    key_page.get_by_role("button", name="Rotate").click()
    key_page.get_by_label("It stops working at once").check()
    keep(key_page, "admin-rotate")
    key_page.get_by_role("button", name="Rotate the key").click()
    expect(key_page.get_by_role("heading", name="Key rotated")).to_be_visible()
    new = shown_token(key_page)
    assert (dev.answers_to(old), dev.answers_to(new)) == (401, 200)

    key_page.reload()
    expect(key_page.get_by_text("was rotated before")).to_be_visible()
    expect(key_page.locator(".field-state_label .key-state")).to_have_text("expired")
    assert new not in key_page.content()

    key_page.locator(".field-replaced_by_key a").click()
    key_page.get_by_role("button", name="Revoke").click()
    key_page.get_by_label("Also cancel pending generations").check()
    keep(key_page, "admin-revoke")
    key_page.get_by_role("button", name="Revoke permanently").click()
    expect(key_page.get_by_text("Revoked: 1.")).to_be_visible()
    expect(key_page.locator(".field-state_label .key-state")).to_have_text("revoked")
    expect(key_page.locator(".key-events tbody tr").first).to_contain_text("ann (admin)")
    keep(key_page, "admin-key")
    assert dev.answers_to(new) == 401


def test_admin__shows_what_goes_on_and_renews_it(admin, dev):
    admin.clock.install()
    admin.goto("/admin/")
    admin.get_by_role("link", name="Status").click()
    expect(admin.get_by_role("row", name="sketch:")).to_contain_text("ok")
    expect(admin.get_by_text("alive")).to_be_visible()
    before = admin.locator("#as-of").inner_text()
    admin.evaluate("window.isSamePage = true")

    dev.wait_for(dev.create(prompt=PROMPTS[0])["id"], "completed")

    admin.wait_for_timeout(1000)  # the time shown has seconds
    admin.clock.fast_forward("00:10")
    expect(admin.locator("#as-of")).not_to_have_text(before)
    assert admin.evaluate("window.isSamePage")
    admin.get_by_role("button", name="Pause").click()
    expect(admin.get_by_role("button", name="Resume")).to_be_focused()
    keep(admin, "admin-status")


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


def test_page_of_another_origin__is_refused(foreign_page, origins, dev):
    generation = dev.create(width=64, height=64)
    count = len(dev.newest())
    arguments = [f"http://127.0.0.1:{dev.port}{URL}", dev.token, generation["signed_urls"]["events"]]
    foreign_page.goto(origins[1])

    assert foreign_page.evaluate(TRY_FROM_ANOTHER_SITE, arguments) == ["refused"] * 3

    assert len(dev.newest()) == count


def test_pages__are_accessible_and_fit_the_screen(page):
    assert flaws_of(page, "/", "/ht/", "/api/v1/docs", "/admin/login/") == []


def test_flaws__are_found(page):
    page.goto("/")
    page.evaluate("document.querySelector('nav').innerHTML = '<input>'")

    assert [flaw.split()[1:3] for flaw in flaws(page)] == [["light", "label:"], ["dark", "label:"]]


def test_admin__of_generations_is_accessible_and_fits_the_screen(admin, dev):
    id = dev.wait_for(dev.create(prompt=PROMPTS[0])["id"], "completed")["id"]
    generations = "/admin/generations/generation/"

    assert flaws_of(admin, "/admin/status/", generations, f"{generations}{id}/change/") == []


def test_admin__of_keys_is_accessible_and_fits_the_screen(key_page):
    found = flaws(key_page)
    key_page.get_by_role("link", name="continue to the key").click()
    found += flaws(key_page)
    key_page.get_by_role("button", name="Revoke").click()
    found += flaws(key_page)
    key_page.goto("/admin/apikeys/apikey/")
    expect(key_page.get_by_role("link", name="Development")).to_be_visible()
    keep(key_page, "admin-keys")
    found += flaws(key_page)

    assert found == []


@pytest.mark.faults
def test_admin__on_its_rarer_pages_is_accessible_and_fits_the_screen(key_page, dev):
    id = dev.wait_for(dev.create(prompt=PROMPTS[0])["id"], "completed")["id"]
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
