import pytest
from django.core.checks import run_checks
from django.test import Client

from generations.models import Generation
from generations.tests.support.calls import URL, assert_problem, post

ORIGIN = "https://app.example.org"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,last-event-id",
}


@pytest.fixture
def allowed(settings):
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]


def preflight(client, path: str = URL, **headers):
    return client.options(path, headers={**PREFLIGHT, **headers})


def test_preflight__needs_no_key_and_takes_no_unit(allowed, client):
    answer = preflight(client)

    assert answer.status_code in (200, 204)
    assert answer["Access-Control-Allow-Origin"] == ORIGIN
    assert {"authorization", "content-type", "last-event-id"} <= set(answer["Access-Control-Allow-Headers"].split(", "))
    assert {"GET", "POST", "DELETE"} <= set(answer["Access-Control-Allow-Methods"].split(", "))
    assert not answer.has_header("Access-Control-Allow-Credentials")
    assert not answer.has_header("RateLimit-Remaining")


@pytest.mark.parametrize("path", ["/v1/predictions", "/replicate/v1/models", "/replicate/predictions", "/predictions"])
def test_preflight__allows_what_replicates_client_sends(allowed, client, path):
    sent = {"authorization", "content-type", "prefer", "user-agent"}

    answer = preflight(client, path, **{"Access-Control-Request-Headers": ",".join(sent)})

    assert answer["Access-Control-Allow-Origin"] == ORIGIN
    assert sent <= set(answer["Access-Control-Allow-Headers"].split(", "))


@pytest.mark.django_db
@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", ORIGIN + ".evil.org", "http://app.example.org"])
def test_cors__is_for_configured_origins(allowed, api, origin):
    for answer in (preflight(api, Origin=origin), api.get(URL, headers={"Origin": origin})):
        assert not answer.has_header("Access-Control-Allow-Origin")


@pytest.mark.django_db
def test_cors__is_off_by_default(api):
    for answer in (preflight(api), api.get(URL, headers={"Origin": ORIGIN})):
        assert not answer.has_header("Access-Control-Allow-Origin")


@pytest.mark.parametrize("path", ["/", "/admin/login/"])
def test_cors__is_for_the_api_alone(allowed, client, path):
    assert not client.get(path, headers={"Origin": ORIGIN}).has_header("Access-Control-Allow-Origin")


def test_cors__holds_for_every_answer(allowed, api, debug, monkeypatch, make_generation, image_folder):
    origin = {"Origin": ORIGIN}
    image_folder.mkdir()
    (image_folder / "a.png").write_bytes(b"an image")
    generation = make_generation()
    generation.complete(generation.start(), "a.png")
    path = f"{URL}/{generation.id}"
    answers = [
        api.get(f"{path}/image", headers=origin),
        api.get(f"{path}/events", headers=origin),
        post(api, {}, headers=origin),
        post(api, "x" * 2**21, headers=origin),
        Client().get(URL, headers=origin),
        api.get("/api/nothing", headers=origin),
        api.put(URL, headers=origin),
        api.get(URL, headers={**origin, "Host": "evil"}),
    ]
    b"".join(answers[0].streaming_content)  # which closes the file
    monkeypatch.setattr(Generation.objects, "owned_by", lambda key: 1 / 0)
    answers.append(api.get(URL, headers=origin))

    assert [answer.status_code for answer in answers] == [200, 200, 422, 413, 401, 404, 405, 400, 500]
    for answer in answers:
        assert answer["Access-Control-Allow-Origin"] == ORIGIN
        assert {"RateLimit-Remaining", "Retry-After", "Location", "ETag"} <= set(
            answer["Access-Control-Expose-Headers"].split(", ")
        )


@pytest.mark.parametrize("origin", ["*", "app.example.org", "https://app.example.org/path", "https://"])
def test_check__refuses_what_is_no_origin(settings, origin):
    settings.CORS_ALLOWED_ORIGINS = [origin]

    assert [error.id for error in run_checks() if error.id.startswith("corsheaders.")]


@pytest.mark.django_db
def test_problem__of_the_key_in_the_query_is_readable(allowed, api, key):
    answer = api.get(URL, {"token": key.token}, headers={"Origin": ORIGIN})

    assert_problem(answer, 400)
    assert answer["Access-Control-Allow-Origin"] == ORIGIN
