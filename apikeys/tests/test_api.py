import pytest
from django.test import Client

from apikeys import tokens
from apikeys.tests.test_models import UNUSABLE
from generations.status import Status


def ask(authorization: str | None):
    return Client().get("/api/v1/key", headers={"Authorization": authorization} if authorization else {})


def test_key__shows_what_the_client_may_know(make_key, client_of, make_generation):
    key = make_key(name="Ann", rate_limit=7, max_pending=3)
    for status in (Status.PENDING, Status.PROCESSING):
        make_generation(api_key=key, status=status)
    make_generation(api_key=key).cancel()
    make_generation()
    client_of(key).get("/api/v1/generations")

    answer = client_of(key).get("/api/v1/key")

    assert answer.status_code == 200
    assert answer.json()["reset"] in (8, 9)  # 60 s / 7
    assert answer.json() == {
        "name": "Ann",
        "prefix": key.prefix,
        "limit": 7,
        "remaining": 6,
        "reset": answer.json()["reset"],
        "max_pending": 3,
        "pending": 2,
    }


def test_key__has_nothing_to_count_without_a_limit(make_key, client_of):
    answer = client_of(make_key(rate_limit=0)).get("/api/v1/key")

    assert (answer.json()["limit"], answer.json()["remaining"], answer.json()["reset"]) == (0, None, None)


def test_key__notes_that_it_was_used(key):
    ask(f"Bearer {key.token}")

    key.refresh_from_db()
    assert key.last_used_at


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_key__takes_the_scheme_in_any_case(key, scheme):
    assert ask(f"{scheme}{key.token}").status_code == 200


@pytest.mark.parametrize("scheme", ["", "Basic ", "Token "])
def test_key__takes_no_other_scheme(key, scheme):
    assert ask(f"{scheme}{key.token}").status_code == 401


def test_key__gives_one_answer_to_every_bad_key(make_key):
    unusable = [make_key(**state) for state in UNUSABLE.values()]
    sent = [None, "Bearer", "Bearer nonsense", f"Bearer {tokens.make()}", f"Basic {tokens.make()}"]

    answers = [ask(text) for text in [*sent, *(f"Bearer {key.token}" for key in unusable)]]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert {tuple(answer.items()) for answer in answers} == {tuple(answers[0].items())}
    assert {answer["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert {answer["Content-Type"] for answer in answers} == {"application/problem+json"}


@pytest.mark.parametrize("debug", [True, False])
def test_key__keeps_the_header_out_of_the_log(db, settings, caplog, debug):
    settings.DEBUG = debug

    ask("Basic c2VjcmV0")
    ask("Token-without-a-scheme")

    assert "c2VjcmV0" not in caplog.text
    assert "without-a-scheme" not in caplog.text
