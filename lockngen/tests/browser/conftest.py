"""One Chromium, one login and one whole LockN Gen for all tests of the pages.

They end with this package, as the event loop of playwright prevents other tests from using the database.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from lockngen.tests.browser.origins import serve_origin
from lockngen.tests.browser.screenshots import keep
from lockngen.tests.support.dev import Dev, running_devs
from lockngen.tests.support.embedded_servers import open_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"))


@pytest.fixture(scope="package")
def origins() -> Iterator[list[str]]:
    """Two other sites: the first is in CORS_ALLOWED_ORIGINS."""
    with ExitStack() as servers:
        yield [servers.enter_context(serve_origin()) for _ in range(2)]


@pytest.fixture(scope="package")
def dev(origins) -> Iterator[Dev]:
    with open_folder() as folder, running_devs(folder) as make_dev:
        yield make_dev(CORS_ALLOWED_ORIGINS=origins[0])


@pytest.fixture(scope="package")
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
        page.on("request", lambda request: errors.append(request.url) if is_foreign(request.url, dev.port) else None)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert errors == []


def is_foreign(url: str, port: int) -> bool:
    return not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))


@pytest.fixture
def page(open_page) -> Page:
    return open_page()


@pytest.fixture(scope="package")
def admin_user(dev) -> tuple[str, str]:
    password = "correct horse battery"
    variables = {"DJANGO_SUPERUSER_PASSWORD": password}
    done = dev.manage("createsuperuser", "--noinput", "--username=ann", "--email=ann@example.org", **variables)
    assert done.returncode == 0, done.stderr
    return "ann", password


@pytest.fixture(scope="package")
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
