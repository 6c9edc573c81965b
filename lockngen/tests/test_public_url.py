"""A real web with a path in PUBLIC_URL, behind a proxy that removes that path."""

import json
import re
from http.client import HTTPConnection, HTTPResponse

import pytest

from apikeys import tokens
from apikeys.models import ApiKey
from lockngen import environment as env
from lockngen.tests.support.web import Web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
PUBLIC_URL = "https://images.example.org/lockn"
WEB_OPTIONS = {"PUBLIC_URL": PUBLIC_URL, "ALLOWED_HOSTS": "", "CSRF_TRUSTED_ORIGINS": ""}


def ask(web: Web, path: str, method: str = "GET", body: str | None = None, **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", web.port, timeout=30)
    headers = {"Host": "images.example.org", "Accept": "*/*", **headers}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.body = answer.read().decode()
    connection.close()
    return answer


def test_path__begins_every_link(web):
    page, admin = ask(web, "/"), ask(web, "/admin/")
    login = ask(web, admin.headers["Location"].removeprefix("/lockn"))
    documentation = ask(web, "/api/v1/docs")

    assert admin.headers["Location"].startswith("/lockn/admin/login/")
    assert ask(web, "/admin").headers["Location"] == "/lockn/admin/"
    for answer in (page, login, documentation):
        assert answer.status == 200
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', answer.body)
        assert [link for link in links if not link.startswith("/lockn/")] == []
    styles = re.findall(r'href="(/[^"]+\.css)"', page.body + login.body)
    assert {ask(web, style.removeprefix("/lockn")).status for style in styles} == {200}
    assert ask(web, "/favicon.ico").headers["Location"].startswith("/lockn/static/")


def test_cookies__are_those_of_the_path_alone(web):
    token = tokens.make()
    ApiKey.objects.create(name="Test", key_hash=tokens.digest(token), prefix=tokens.visible(token))
    page = ask(web, "/")
    csrf = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.body)[1]
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://images.example.org"}
    stale = "sessionid=of-another-application; csrftoken=of-another-application"
    sent = {**form, "Cookie": f"{stale}; {page.headers['Set-Cookie'].partition(';')[0]}"}

    signed_in = ask(web, "/studio/sign-in", "POST", f"token={token}&csrfmiddlewaretoken={csrf}", **sent)

    assert (signed_in.status, signed_in.headers["Location"]) == (302, "/lockn/")
    for cookie in (page.headers["Set-Cookie"], signed_in.headers["Set-Cookie"]):
        assert cookie.startswith("lockngen_")
        assert {"Path=/lockn", "Secure"} <= set(cookie.split("; "))


def test_path__begins_the_addresses_of_a_generation(web):
    token = tokens.make()
    ApiKey.objects.create(name="Test", key_hash=tokens.digest(token), prefix=tokens.visible(token))
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    created = ask(web, "/api/v1/generations", "POST", json.dumps({"prompt": "a lighthouse"}), **sent)

    location = created.headers["Location"]
    assert location == f"{PUBLIC_URL}/api/v1/generations/{json.loads(created.body)['id']}"
    assert ask(web, location.removeprefix(PUBLIC_URL), **sent).status == 200


def test_openapi__names_the_public_address_once(web):
    document = json.loads(ask(web, "/api/v1/openapi.json").body)

    bases = [server["url"] for server in document.get("servers", [])] or [""]
    addresses = {base.removesuffix("/") + path for base in bases for path in document["paths"]}
    assert {address for address in addresses if address.count("/lockn/") != 1} == set()


def test_problem__has_its_shape_under_the_path(web):
    assert ask(web, "/api/v1/nothing").headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("header", ["SCRIPT_NAME", "Script-Name", "X-Script-Name", "X-Forwarded-Prefix", "PATH_INFO"])
def test_header__does_not_change_the_path(web, header):
    answer = ask(web, "/admin/", **{header: "/evil"})

    assert "evil" not in answer.headers.get("Location", "")


def test_port__that_is_taken_is_refused_in_one_line(web, tmp_path):
    other = Web(web.port, tmp_path / "log", workers=1)

    assert other.process.wait(60) == 1
    assert (
        (tmp_path / "log")
        .read_text()
        .endswith(f"\nPort {web.port} is taken: stop what listens there, or set PORT to another one.\n")
    )


@pytest.mark.parametrize(
    ("url", "origins", "hosts"),
    [
        ("", [], []),
        ("https://Images.example.org/lockn", ["https://images.example.org"], ["images.example.org"]),
        ("https://images.example.org:443", ["https://images.example.org"], ["images.example.org"]),
        ("http://10.0.0.1:8000", ["http://10.0.0.1:8000"], ["10.0.0.1"]),
        ("http://[::1]:8000", ["http://[::1]:8000"], ["[::1]"]),
    ],
)
def test_origin_and_host__of_an_address(url, origins, hosts):
    assert (env.origins_of(url), env.hosts_of(url)) == (origins, hosts)


@pytest.mark.parametrize("address", ["https://ann:hunter2@images.example.org", "https://a:99999", "https://a:b"])
def test_public_url__that_can_not_be_used_is_refused_without_its_password(monkeypatch, address):
    monkeypatch.setenv("PUBLIC_URL", address)

    with pytest.raises(env.ImproperlyConfigured, match=r"^PUBLIC_URL can't be read") as caught:
        env.url("PUBLIC_URL")
    assert "hunter2" not in str(caught.value)
