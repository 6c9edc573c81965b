"""Host and Origin headers."""

import pytest
from django.test import Client

PUBLIC = {"secure": True, "headers": {"host": "images.example.org"}}


@pytest.fixture(autouse=True)
def public(settings):
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["images.example.org"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://images.example.org"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("host", ["10.42.0.17:8000", "lockn_web:8000", "[fe80::1]:8000", "a b"])
@pytest.mark.parametrize("path", ["/ht/", "/ht/?format=text", "/ht/storage", "/ht/workers"])
def test_probe__is_answered_whatever_its_host(client, method, host, path):
    answer = getattr(client, method)(path, headers={"Host": host})

    assert answer.status_code == (500 if path == "/ht/workers" else 200)


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/v1/models", "/htx/", "/static/x"])
@pytest.mark.parametrize(
    ("host", "reason"),
    [("10.42.0.17:8000", b"ALLOWED_HOSTS"), ("lockn_web:8000", b"underscore")],
)
def test_other_path__with_an_unknown_host_is_refused_with_the_reason(client, path, host, reason):
    answer = client.get(path, headers={"Host": host})

    if path != "/static/x":  # answered without a check of the host
        assert (answer.status_code, reason in answer.content) == (400, True)


def log_in(client: Client, **headers: str):
    client.get("/admin/login/", **PUBLIC)
    form = {
        "username": "ann",
        "password": "hunter2",
        "csrfmiddlewaretoken": client.cookies["lockngen_csrf"].value,
    }
    headers = {"host": "images.example.org", "X-Forwarded-Proto": "https", **headers}
    return client.post("/admin/login/?next=/admin/", form, headers=headers)


@pytest.fixture
def browser(db, django_user_model):
    django_user_model.objects.create_superuser("ann", password="hunter2")
    return Client(enforce_csrf_checks=True)


def test_login__behind_a_proxy_that_is_not_trusted(browser):
    answer = log_in(browser, origin="https://images.example.org")

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


@pytest.mark.parametrize(
    ("origin", "remedy"), [("null", b"Referrer-Policy"), ("https://other.example.org", b"PUBLIC_URL")]
)
def test_login__from_another_origin_is_refused_with_the_reason(browser, origin, remedy):
    answer = log_in(browser, origin=origin)

    assert (answer.status_code, remedy in answer.content) == (403, True)


def test_login__without_a_token_is_refused_with_the_reason(browser):
    answer = browser.post("/admin/login/", headers={"host": "images.example.org"})

    assert (answer.status_code, b"token" in answer.content) == (403, True)
