"""One Chromium, one login and one whole LockN Gen, as in production, for all tests of the pages.

They end with this package, as the event loop of playwright prevents other tests from using the database.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect, sync_playwright

from generations.tests.support.copies import COPY
from lockngen.tests.browser.origins import serve_origin
from lockngen.tests.browser.screenshots import keep
from lockngen.tests.browser.service import ADMIN, Service, serve
from lockngen.tests.support.embedded_servers import open_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SCREEN = {"width": 1280, "height": 860}


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
def running_service(origins) -> Iterator[Service]:
    with open_folder() as folder, serve(folder, CORS_ALLOWED_ORIGINS=origins[0]) as service:
        service.make_admin()
        yield service


@pytest.fixture
def service(running_service) -> Service:
    """The service, with a new key that its calls use."""
    running_service.token = running_service.make_token()
    return running_service


@pytest.fixture(scope="package")
def browser(running_service) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


def collect_errors(context: BrowserContext, origin: str, expected: str = "") -> list[str]:
    """The errors on all pages of a context, those of the content security policy too, and requests to other hosts.

    Errors that match `expected` are left out.
    """
    errors = []

    def add(error: str) -> None:
        if not (expected and re.search(expected, error)):
            errors.append(error)

    context.on("console", lambda message: add(message.text) if message.type == "error" else None)
    context.on("weberror", lambda found: add(str(found.error)))
    context.on("request", lambda request: None if is_own(request.url, origin) else add(request.url))
    return errors


def is_own(url: str, origin: str) -> bool:
    return url.startswith((f"{origin}/", "data:", "blob:"))


@pytest.fixture
def open_page(browser, service) -> Iterator[Callable[..., Page]]:
    """Open pages in a context of their own. An error on one, or a request to another host, fails the test."""
    contexts, found = [], []

    def open_page(*, expected: str = "", script: str = "", **options) -> Page:
        context = browser.new_context(viewport=SCREEN, base_url=service.origin, **options)
        contexts.append(context)
        found.append(collect_errors(context, service.origin, expected))
        context.add_init_script(script)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    assert [error for errors in found for error in errors] == []


@pytest.fixture
def page(open_page) -> Page:
    return open_page()


def send_form(context: BrowserContext, page: str, target: str, /, **fields: str) -> None:
    """Send a form of a page without opening it."""
    context.request.get(page)
    (csrf,) = (cookie["value"] for cookie in context.cookies() if cookie["name"] == settings.CSRF_COOKIE_NAME)
    answer = context.request.post(target, form={**fields, "csrfmiddlewaretoken": csrf}, max_redirects=0)
    assert answer.status == 302, answer.text()


@pytest.fixture
def open_studio(open_page, service) -> Callable[..., Page]:
    """Open the studio of a key, by default of the one that `service` uses."""

    def open_studio(path: str = "/", token: str = "", **options) -> Page:
        page = open_page(**options)
        send_form(page.context, "/", "/studio/sign-in", token=token or service.token)
        page.goto(path)
        expect(page.get_by_role("heading", name="Queue")).to_be_visible()
        return page

    return open_studio


@pytest.fixture
def studio(open_studio) -> Page:
    return open_studio()


@pytest.fixture(scope="package")
def image(running_service) -> str:
    """The id of a completed generation of another key, which tests copy."""
    running_service.token = running_service.make_token()
    id = running_service.create(prompt="a lighthouse", width=192, height=128)["id"]
    return running_service.wait_for(id, "completed")["id"]


@pytest.fixture
def fill_gallery(service, image) -> Callable[[int], None]:
    """Give the key that `service` uses so many images."""

    def fill(count: int) -> None:
        service.execute(COPY, id=image, prefix=service.token[:14], count=count)

    return fill


@pytest.fixture(scope="package")
def session(browser, running_service) -> StorageState:
    """The cookies after a login."""
    context = browser.new_context(base_url=running_service.origin)
    send_form(context, "/admin/login/", "/admin/login/", username=ADMIN[0], password=ADMIN[1])
    state = context.storage_state()
    context.close()
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
