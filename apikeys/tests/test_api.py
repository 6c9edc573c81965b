import pytest
from django.test import Client

from generations.status import Status


def ask(authorization: str | None):
    return Client().get("/api/v1/key", headers={"Authorization": authorization} if authorization else {})


def test_key__shows_key_limit_and_quota(make_key, client_of, make_generation):
    key = make_key(name="Ann", rate_limit=7, max_pending=3)
    for status in (Status.PENDING, Status.PROCESSING):
        make_generation(api_key=key, status=status)
    make_generation(api_key=key).cancel()
    make_generation()
    client_of(key).get("/api/v1/generations")

    response = client_of(key).get("/api/v1/key")

    assert response.status_code == 200
    assert response.json()["reset"] in (8, 9)  # 60 s / 7
    assert response.json() == {
        "name": "Ann",
        "prefix": key.prefix,
        "limit": 7,
        "remaining": 6,
        "reset": response.json()["reset"],
        "max_pending": 3,
        "pending": 2,
    }


def test_key__null_without_a_limit(make_key, client_of):
    response = client_of(make_key(rate_limit=0)).get("/api/v1/key")

    assert (response.json()["limit"], response.json()["remaining"], response.json()["reset"]) == (0, None, None)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_key__accepts_the_scheme_in_any_case(key, scheme):
    assert ask(f"{scheme}{key.token}").status_code == 200


@pytest.mark.parametrize("scheme", ["", "Basic ", "Token "])
def test_key__rejects_other_schemes(key, scheme):
    assert ask(f"{scheme}{key.token}").status_code == 401


@pytest.mark.parametrize("debug", [True, False])
def test_key__does_not_log_the_header(db, settings, caplog, debug):
    settings.DEBUG = debug

    ask("Basic c2VjcmV0")
    ask("Token-without-a-scheme")

    assert "c2VjcmV0" not in caplog.text
    assert "without-a-scheme" not in caplog.text
