"""Responses about the key and its limit, and the log lines."""

from unittest.mock import Mock

import pytest
from django.db import OperationalError
from django.test import Client

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.tests.test_models import UNUSABLE
from generations.models import Generation
from generations.tests.support.calls import URL, assert_problem, post

HEADERS = [f"{form}RateLimit-{name}" for form in ("", "X-") for name in ("Limit", "Remaining", "Reset")]


def limits(response) -> list[str | None]:
    return [response.get(name) for name in HEADERS]


def remaining(response) -> int:
    return int(response["RateLimit-Remaining"])


def test_counted_call__has_the_limit_headers(make_key, client_of):
    client = client_of(make_key(rate_limit=6))

    first, second = client.get(URL), client.get(URL)

    assert limits(first) == ["6", "5", "10"] * 2
    assert limits(second) == ["6", "4", "20"] * 2


def test_counted_call__without_a_limit_has_no_headers(make_key, client_of):
    assert limits(client_of(make_key(rate_limit=0)).get(URL)) == [None] * 6


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda client: client.get(f"{URL}/nothing"), 404),
        (lambda client: post(client, "{"), 400),
        (lambda client: post(client, {}), 422),
        (lambda client: client.get(f"{URL}?limit=0"), 422),
        (lambda client: client.delete(f"{URL}/nothing"), 404),
        (lambda client: client.head(URL), 200),
    ],
)
def test_counted_call__has_the_headers_with_every_status(api, debug, call, status):
    response = call(api)

    assert (response.status_code, remaining(response)) == (status, 99)
    assert None not in limits(response)


def test_counted_call__has_the_headers_in_a_conflict(api, make_generation):
    generation = make_generation()
    generation.complete(generation.start(), "a.png")

    response = api.post(f"{URL}/{generation.id}/cancel")

    assert (response.status_code, remaining(response)) == (409, 99)


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError("broken"), 500), (OperationalError("away"), 503)])
def test_counted_call__has_the_headers_in_a_server_error(api, debug, monkeypatch, error, status):
    monkeypatch.setattr(Generation.objects, "owned_by", Mock(side_effect=error))

    response = api.get(URL)

    assert (response.status_code, remaining(response)) == (status, 99)


@pytest.mark.parametrize("path", ["/api/v1/key", f"{URL}/nothing/image"])
def test_free_call__is_not_counted(make_key, client_of, path):
    client = client_of(make_key(rate_limit=2))
    client.get(URL)

    responses = [client.get(path) for _ in range(5)]

    assert {remaining(response) for response in responses} == {1}
    assert client.get(URL).status_code == 200


def test_free_call__is_admitted_when_the_limit_is_used_up(make_key, client_of):
    client = client_of(make_key(rate_limit=1))
    client.get(URL)

    assert client.get(URL).status_code == 429
    assert client.get("/api/v1/key").json()["remaining"] == 0


def test_limited_call__is_a_429_with_retry_after(make_key, client_of, debug):
    client = client_of(make_key(rate_limit=2))
    client.get(URL), client.get(URL)

    response = client.get(URL)

    assert_problem(response, 429, "2 requests a minute")
    assert response.json()["type"] == "urn:lockngen:problem:rate-limited"
    assert response["Retry-After"] in ("29", "30")
    assert limits(response)[:2] == ["2", "0"]


def test_limit__counts_all_calls_of_one_key(make_key, client_of):
    ann, bea = client_of(make_key(rate_limit=2)), client_of(make_key(rate_limit=2))

    assert [ann.get(URL).status_code, post(ann, {"prompt": "x"}).status_code, ann.get(URL).status_code] == [
        200,
        201,
        429,
    ]
    assert bea.get(URL).status_code == 200


def test_one_statement__admits_a_call(api, django_assert_num_queries):
    api.get(URL)  # records the use of the key

    with django_assert_num_queries(2) as captured:  # this and the list's own
        api.get(URL)

    assert "apikeys_bucket" in captured[0]["sql"]
    assert "apikeys_" not in captured[1]["sql"]


def test_database_unavailable__rejects_the_call(api, debug, monkeypatch):
    monkeypatch.setattr(
        "apikeys.rate_limit.statement.AuthenticationQuerySet._execute", Mock(side_effect=OperationalError("away"))
    )
    submit = Mock()
    monkeypatch.setattr(Generation.objects, "submit", submit)

    response = post(api, {"prompt": "x"})

    assert_problem(response, 503)
    assert response["Retry-After"]
    submit.assert_not_called()


def bad_tokens(make_key) -> dict[str, str]:
    """A token for each reason of rejection, with DEBUG off."""
    unusable = {state: make_key(**fields).token for state, fields in UNUSABLE.items()}
    return unusable | {"unknown": tokens.make(), "malformed": "secret", "development": tokens.make(tokens.TEST)}


def bearer(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def test_bad_key__same_response_for_every_reason(make_key):
    responses = [Client().get(URL), *(bearer(token).get(URL) for token in bad_tokens(make_key).values())]

    assert {response.status_code for response in responses} == {401}
    assert len({response.content for response in responses}) == 1
    assert {tuple(response.items()) for response in responses} == {tuple(responses[0].items())}
    assert (responses[0]["WWW-Authenticate"], responses[0]["Content-Type"]) == ("Bearer", "application/problem+json")
    assert limits(responses[0]) == [None] * 6


@pytest.mark.parametrize("name", ["api_key", "apikey", "api-key", "Key", "token", "access_token", "authorization"])
def test_key_in_query__detected_by_parameter_name(api, debug, name):
    response = api.get(URL, {name: "hunter2"})

    assert_problem(response, 400, "Authorization: Bearer")
    assert response.json()["type"] == "urn:lockngen:problem:key-in-query"
    assert b"hunter2" not in response.content


@pytest.mark.parametrize("url", [URL + "?q={}", URL + "?limit={}", "/api/v1/key?x={}", URL + "?cursor=x{}y&limit=1"])
def test_key_in_query__detected_by_format(key, client_of, caplog, url):
    response = client_of(key).get(url.format(key.token))

    assert_problem(response, 400)
    assert key.token not in response.content.decode() + caplog.text
    assert "reason=in-query" in caplog.text


def test_key_in_query__is_not_counted(key, api):
    assert api.get(URL, {"token": key.token}).content == Client().get(URL, {"token": key.token}).content
    assert remaining(api.get("/api/v1/key")) == 100
    assert ApiKey.objects.get().last_used_at  # by the last of them


def test_query__other_parameters_are_accepted(api):
    assert api.get(URL, {"limit": 1, "status": "pending"}).status_code == 200
    assert "keyword" in api.get(URL, {"keyword": "lg_live_"}).json()["detail"]  # unknown, but no key
