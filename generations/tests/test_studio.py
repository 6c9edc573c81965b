"""Signing in to the studio, and what a session may see."""

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import Client

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN
from generations.models import Generation
from generations.studio import visitor

ID = "01a2060a-d97e-74b1-8053-66d169bbcd7f"  # of no generation

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Accept-Language": "en"})


@pytest.fixture
def sign_in(browser):
    def sign_in(token: str, **fields):
        return browser.post("/studio/sign-in", {"token": token, **fields})

    return sign_in


@pytest.fixture
def studio(sign_in, browser, key) -> Client:
    sign_in(key.token)
    return browser


@pytest.fixture
def make_admin(browser):
    def make(*permissions: str) -> Client:
        user = User.objects.create_user("ann", password="x", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        browser.force_login(user)
        return browser

    return make


def test_home__says_what_this_is_to_a_stranger(browser):
    answer = browser.get("/")

    assert answer.status_code == 200
    assert b"Sign in" in answer.content
    assert b"curl" in answer.content


@pytest.mark.parametrize("path", ["queue", f"images/{ID}", f"generations/{ID}/download.png"])
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_stranger__is_sent_home_by_a_response_that_no_cache_keeps(browser, path, headers):
    answer = browser.get(f"/studio/{path}", headers=headers)

    assert answer.status_code == (401 if headers else 302)
    assert "no-store" in answer["Cache-Control"]


def test_home__is_in_the_browser_s_language(browser):
    answer = browser.get("/", headers={"Accept-Language": "de"})

    assert answer["Content-Language"] == "de"
    assert b'<html lang="de">' in answer.content
    assert "Bilder, die nicht verloren gehen." in answer.content.decode()


def test_language__is_chosen_for_the_visits_that_follow(browser):
    answer = browser.post("/studio/language", {"language": "de"}, headers={"Referer": "http://testserver/?q=a"})

    assert answer["Location"] == "http://testserver/?q=a"
    assert browser.get("/")["Content-Language"] == "de"
    assert browser.get("/nothing")["Content-Language"] == "de"


@pytest.mark.parametrize("next", ["https://example.org/", "//example.org/"])
def test_language__leads_to_no_other_host(browser, next):
    answer = browser.post("/studio/language", {"language": "de", "next": next})

    assert answer["Location"] == "/"


def test_sign_in__opens_the_studio(sign_in, browser, key):
    answer = sign_in(f" {key.token} ")

    assert answer["Location"] == "/"
    assert b'id="prompt"' in browser.get("/").content
    cookie = browser.cookies[django_settings.SESSION_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], int(cookie["max-age"])) == (True, "Lax", visitor.LIFETIME)
    assert key.token not in str(dict(browser.session))


@pytest.mark.parametrize("token", ["", "x", "lg_live_" + "0" * 49])
def test_sign_in__refuses_another_token(sign_in, browser, token):
    answer = sign_in(token)

    assert answer.status_code == 401
    assert b"not valid" in answer.content
    assert visitor.KEY not in browser.session


def test_sign_in__begins_a_new_session(sign_in, browser, key, make_key):
    sign_in(key.token)
    first = browser.session.session_key

    sign_in(make_key().token)

    assert browser.session.session_key != first


@pytest.mark.parametrize(("debug", "status"), [(True, 302), (False, 401)])
def test_development_key__needs_debug(sign_in, settings, make_key, debug, status):
    settings.DEBUG = debug
    ApiKey.all_objects.filter(pk=make_key().pk).update(key_hash=tokens.digest(DEVELOPMENT_TOKEN))

    assert sign_in("", development="1").status_code == status


@pytest.mark.parametrize("end", ["revoke", "deactivate", "delete"])
def test_session__ends_with_its_key(studio, key, end):
    getattr(key, end)()

    assert studio.get("/studio/queue")["Location"] == "/"
    assert b"Sign in" in studio.get("/").content
    assert visitor.KEY not in studio.session


def test_session__is_renewed_by_the_first_page(studio):
    answer = studio.get("/")

    assert int(answer.cookies[django_settings.SESSION_COOKIE_NAME]["max-age"]) == visitor.LIFETIME
    assert django_settings.SESSION_COOKIE_NAME not in studio.get("/studio/queue").cookies


def test_session__that_ended_leads_htmx_to_the_first_page(browser):
    answer = browser.get("/studio/queue", headers={"HX-Request": "true"})

    assert (answer.status_code, answer["HX-Redirect"]) == (401, "/")


def test_sign_out__ends_the_session(studio):
    studio.post("/studio/sign-out")

    assert visitor.KEY not in studio.session


def test_form__is_protected_from_other_sites(key):
    browser = Client(enforce_csrf_checks=True)

    assert browser.post("/studio/sign-in", {"token": key.token}).status_code == 403


def test_policy__allows_no_inline_style(studio):
    assert "style-src 'self';" in studio.get("/")["Content-Security-Policy"] + ";"


def test_strangers__see_and_change_nothing(studio, make_generation, make_completed, make_key):
    other = make_key()
    pending, completed = make_generation(api_key=other), make_completed(api_key=other)

    assert str(pending.id) not in studio.get("/studio/queue").content.decode()
    assert str(completed.id) not in studio.get("/studio/gallery").content.decode()
    assert studio.get(f"/studio/images/{completed.id}").status_code == 404
    assert studio.get(f"/studio/thumbnails/{completed.id}").status_code == 404
    assert studio.post(f"/studio/generations/{pending.id}/cancel").status_code == 404
    pending.refresh_from_db()
    assert pending.is_unfinished


def test_image__is_served_to_its_session(studio, make_completed):
    completed = make_completed()

    answer = studio.get(f"/studio/images/{completed.id}")

    assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
    assert b"".join(answer.streaming_content)
    assert "immutable" in answer["Cache-Control"]
    assert "Cookie" in answer["Vary"]


def test_admin_user__chooses_a_key(make_admin, key, make_completed):
    browser = make_admin("view_generation")
    completed = make_completed()
    assert browser.get("/")["Location"] == "/studio/keys"

    browser.post("/studio/key", {"key": str(key.pk)})

    assert str(completed.id) in browser.get("/studio/gallery").content.decode()
    assert browser.post("/studio/generations", {"prompt": "x"}).status_code == 403


@pytest.mark.parametrize("key", ["", "x", "\0", "01a2060a-d97e-74b1-8053-66d169bbcd7f"])
def test_admin_user__that_chooses_no_key_stays(make_admin, key):
    browser = make_admin("view_generation")

    assert browser.post("/studio/key", {"key": key})["Location"] == "/"
    assert visitor.CHOSEN_KEY not in browser.session


@pytest.mark.parametrize("loss", ["permission", "is_staff", "is_active"])
def test_admin_user__that_loses_the_permission_loses_the_chosen_key(make_admin, key, make_completed, loss):
    browser, completed = make_admin("view_generation"), make_completed()
    browser.post("/studio/key", {"key": str(key.pk)})

    if loss == "permission":
        User.objects.get().user_permissions.clear()
    else:
        User.objects.update(**{loss: False})

    assert b"Sign in" in browser.get("/").content
    assert browser.get(f"/studio/images/{completed.pk}").status_code == 302
    assert browser.post("/studio/selection/delete", {"ids": str(completed.pk)}).status_code == 302
    completed.refresh_from_db()
    assert not completed.is_deleted


def test_admin_user__that_has_signed_in_with_a_token_keeps_that_key(make_admin, sign_in, key, make_key):
    browser = make_admin("view_generation")
    browser.post("/studio/key", {"key": str(make_key(name="chosen").pk)})
    sign_in(key.token)
    assert browser.get("/").context["visitor"].key == key

    User.objects.get().user_permissions.clear()

    assert browser.get("/").context["visitor"] == visitor.Visitor(key)


def test_admin_user__with_the_permission_may_change(make_admin, key):
    browser = make_admin("view_generation", "change_generation")
    browser.post("/studio/key", {"key": str(key.pk)})

    assert browser.post("/studio/generations", {"prompt": "x"}).status_code == 302


def test_admin_user__without_the_permission_is_a_stranger(make_admin, key):
    browser = make_admin()

    browser.post("/studio/key", {"key": str(key.pk)})

    assert b"Sign in" in browser.get("/").content


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), (f"/studio/images/{'0' * 8}-0000-7000-8000-{'0' * 12}", 404)]
)
def test_error_page__leads_home(studio, settings, path, status):
    settings.DEBUG = False

    answer = studio.get(path)

    assert answer.status_code == status
    assert b'href="/"' in answer.content


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("secret"), 500), (OperationalError("secret"), 503)])
def test_error_page__of_a_failure_shows_no_reason(studio, monkeypatch, settings, error, status):
    settings.DEBUG = False
    studio.raise_request_exception = False

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Generation.objects.__class__, "owned_by", fail)

    answer = studio.get("/studio/queue")

    assert (answer.status_code, answer.get("Retry-After")) == (status, "2" if status == 503 else None)
    assert b"secret" not in answer.content
