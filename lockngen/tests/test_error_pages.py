"""The pages of errors, wherever they are made."""

from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from django.test import Client, RequestFactory

from lockngen.web import error_pages, threads
from lockngen.web.application import Application

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def application() -> Application:
    return Application()


@pytest.fixture
def respond(application):
    async def respond(path: str, accept: str = BROWSER, method: str = "GET", **headers: str) -> SimpleNamespace:
        sent = []

        async def receive() -> dict:
            return {"type": "http.request", "body": b""}

        async def send(message: dict) -> None:
            sent.append(message)

        headers = {"host": "localhost", "accept": accept, "accept-language": "en", **headers}
        scope = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path}
        raw = [(name.encode(), value.encode()) for name, value in headers.items() if value]
        await application({**scope, "query_string": b"", "headers": raw}, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return SimpleNamespace(status=sent[0]["status"], headers=headers, body=body.decode())

    return respond


@pytest.fixture
def busy(monkeypatch):
    async def refuse(*_):
        raise threads.Busy

    for pool in (threads.PAGES, threads.DJANGO):
        monkeypatch.setattr(pool, "run", refuse)


@pytest.mark.anyio
async def test_busy_service__answers_a_browser_with_a_page(respond, busy):
    answer = await respond("/")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(answer.body.encode())
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert 'href="/"' in answer.body
    assert "Try again" in answer.body


SECURITY_HEADERS = (
    *("Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy"),
    "Cross-Origin-Opener-Policy",
)


@pytest.mark.anyio
@pytest.mark.parametrize("cause", ["busy", "no host", "an error"])
async def test_page_of_the_network_layer__has_the_headers_of_django_s_pages(respond, monkeypatch, settings, cause):
    settings.DEBUG = False
    of_django = Client(headers={"Accept": BROWSER}).get("/nothing")
    if cause in ("busy", "an error"):
        error = AsyncMock(side_effect=threads.Busy if cause == "busy" else RuntimeError)
        for pool in (threads.PAGES, threads.DJANGO):
            monkeypatch.setattr(pool, "run", error)

    answer = await respond("/", host="" if cause == "no host" else "localhost")

    assert answer.status == {"busy": 503, "no host": 400, "an error": 500}[cause]
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == {
        name: of_django[name] for name in SECURITY_HEADERS
    }


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "accept"), [("/", "*/*"), ("/api/v1/key", BROWSER), ("/sdapi/v1/options", BROWSER)])
async def test_busy_service__answers_others_with_a_problem(respond, busy, path, accept):
    answer = await respond(path, accept)

    assert answer.status == 503
    assert "json" in answer.headers["Content-Type"]


@pytest.mark.anyio
async def test_form_that_is_too_large__gets_a_page(respond, settings):
    headers = {"content-length": str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)}
    form = {"content-type": "application/x-www-form-urlencoded", "cookie": f"{settings.CSRF_COOKIE_NAME}={'a' * 32}"}

    answer = await respond("/studio/sign-in", method="POST", **headers, **form)

    assert answer.status == 413
    assert "<h1>Too large</h1>" in answer.body


@pytest.mark.anyio
async def test_request_that_is_no_valid_http__gets_a_page(respond):
    answer = await respond("/", host="")

    assert answer.status == 400
    assert "<h1>Bad request</h1>" in answer.body


@pytest.mark.parametrize("status", [*error_pages.TEXTS, 408, 504])
@pytest.mark.parametrize("language", ["en", "de"])
def test_page__of_each_status_leads_home_in_the_visitor_s_language(status, language):
    answer = error_pages.response(RequestFactory().get("/", headers={"Accept-Language": language}), status)

    assert answer.status_code == status
    assert answer["Content-Language"] == language
    assert answer["Cache-Control"] == "no-store"
    assert f'<html lang="{language}">' in answer.content.decode()
    assert 'href="/"' in answer.content.decode()


def test_page__leads_to_the_path_of_the_public_address(settings):
    settings.PUBLIC_PATH = "/images"

    assert 'href="/images/"' in error_pages.response(RequestFactory().get("/"), 404).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "remedy"),
    [({}, "load the page again"), ({"Origin": "null"}, "Referrer-Policy"), ({"Origin": "https://x.org"}, "PUBLIC_URL")],
)
def test_forged_form__gets_a_page_with_the_remedy(headers, remedy):
    browser = Client(enforce_csrf_checks=True, headers={"Accept": BROWSER, "Accept-Language": "en"})

    answer = browser.post("/studio/sign-in", {"token": "x"}, headers=headers)

    assert answer.status_code == 403
    assert "<h1>Not allowed</h1>" in answer.content.decode()
    assert remedy in answer.content.decode()


def test_unknown_host__gets_a_page_with_the_reason(settings):
    settings.DEBUG = False
    answer = Client(headers={"Accept": BROWSER}).get("/", headers={"Host": "other.example.org"})

    assert answer.status_code == 400
    assert "ALLOWED_HOSTS" in answer.content.decode()
    assert "<h1>Bad request</h1>" in answer.content.decode()


@pytest.mark.django_db
def test_lockout__has_a_page(settings, django_user_model):
    settings.AXES_FAILURE_LIMIT = 1
    django_user_model.objects.create_superuser("ann", password="x")

    answer = Client(headers={"Accept-Language": "en"}).post("/admin/login/", {"username": "ann", "password": "y"})

    assert answer.status_code == 429
    assert "<h1>Login locked</h1>" in answer.content.decode()
