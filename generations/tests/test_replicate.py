"""Replicate's predictions and errors, without its client libraries."""

from base64 import b64encode
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.core.files.storage import default_storage
from django.test import Client

from apikeys import free_calls, tokens
from apikeys.rate_limit.throttle import Throttle
from generations.dialects.replicate import predictions
from generations.models import Generation
from generations.tests.support.calls import URL as NATIVE
from generations.tests.support.encoded import PNG
from generations.tests.support.replicate import BASES, PREDICTIONS, assert_error, create, get, send


@pytest.mark.parametrize("base", BASES)
def test_operations__have_all_base_addresses(api, base):
    id = create(api, f"{base}/models/lockngen/sketch/predictions").json()["id"]

    assert create(api, f"{base}/predictions", {"version": "sketch"}).status_code == 201
    assert api.get(f"{base}/predictions/{id}").json()["id"] == id
    assert len(api.get(f"{base}/predictions").json()["results"]) == 2
    assert api.get(f"{base}/models/lockngen/sketch").json()["name"] == "sketch"
    assert api.get(f"{base}/account").json()["name"] == "Test"
    assert_error(api.get(f"{base}/predictions/x"), 404, "Not Found")
    assert_error(Client().get(f"{base}/predictions"), 401, "Unauthenticated", "API key")


@pytest.mark.parametrize("path", ["files", "collections", "deployments/x/y", "hardware", "trainings"])
@pytest.mark.parametrize("base", BASES)
def test_operation__that_does_not_exist_has_replicates_error(api, base, path):
    assert_error(api.get(f"{base}/{path}"), 404, "Not Found")


@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        (["pending"], "starting"),
        (["processing"], "processing"),
        (["completed", "pending"], "processing"),
        (["completed", "failed", "processing"], "processing"),
        (["completed", "completed"], "succeeded"),
        (["completed", "cancelled"], "canceled"),
        (["cancelled", "failed", "completed"], "failed"),
    ],
)
def test_status__is_that_of_all_outputs(api, make_prediction, statuses, shown):
    made = make_prediction(*statuses)

    prediction = get(api, made[0])

    assert prediction["status"] == shown
    assert len(prediction["output"] or []) == statuses.count("completed")
    assert (prediction["completed_at"] is None) == (shown in ("starting", "processing"))
    assert prediction["error"] == ("It is too large." if "failed" in statuses else None)


def test_finished_prediction__has_its_times_and_progress(api, make_completed):
    generation = make_completed()
    created_at = Generation.objects.values_list("created_at", flat=True).get()
    Generation.objects.update(
        started_at=created_at + timedelta(seconds=1), completed_at=created_at + timedelta(seconds=3)
    )

    shown = get(api, generation)

    assert shown["metrics"] == {"predict_time": 2.0, "total_time": 3.0}
    assert shown["logs"] == "100%|██████████| 100/100"


def test_output__is_a_data_url_without_tls(api, make_completed):
    assert get(api, make_completed())["output"] == [f"data:image/png;base64,{b64encode(PNG).decode()}"]


def test_output__is_a_signed_address_with_tls(api, make_completed):
    (output,) = get(api, make_completed(), secure=True)["output"]

    parts = urlsplit(output)
    assert parts.scheme == "https"
    for client in (Client(), api):  # one of the libraries also sends its key
        assert b"".join(client.get(f"{parts.path}?{parts.query}", secure=True).streaming_content) == PNG


def test_output__is_an_address_beyond_the_size_of_a_response(api, make_prediction, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_INLINE_BYTES", len(PNG) + 1)
    made = make_prediction("completed", "completed")

    first, second = get(api, made[0])["output"]

    assert first.startswith("data:image/png;base64,")
    assert second.startswith(f"http://testserver{NATIVE}/{made[1].id}/image?signature=")


def test_output__is_an_address_if_its_file_cannot_be_read(api, make_completed):
    generation = make_completed()
    default_storage.delete(generation.image_path)

    assert get(api, generation)["output"][0].startswith("http://testserver/")


def test_output__of_a_deleted_generation_is_removed(api, make_prediction):
    made = make_prediction("completed", "completed")
    made[1].delete()

    shown = get(api, made[0])
    assert (len(shown["output"]), shown["data_removed"], shown["status"]) == (1, True, "succeeded")

    made[0].delete()
    assert_error(api.get(f"{PREDICTIONS}/{made[0].id}"), 404, "Not Found")


def test_prediction__is_its_owners(api, client_of, make_key, make_generation):
    stranger, generation = client_of(make_key()), make_generation()

    for answer in (
        stranger.get(f"{PREDICTIONS}/{generation.id}"),
        stranger.post(f"{PREDICTIONS}/{generation.id}/cancel"),
        stranger.get(f"/v1/files/{generation.id}/events"),
    ):
        assert_error(answer, 404, "Not Found", "prediction")
    assert stranger.get(PREDICTIONS).json() == {"previous": None, "next": None, "results": []}


def test_later_generation_of_a_call__is_no_prediction(api, make_prediction):
    made = make_prediction("pending", "pending")

    assert_error(api.get(f"{PREDICTIONS}/{made[1].id}"), 404, "Not Found")


def test_cancel__ends_all_outputs_and_is_idempotent(api, make_prediction):
    made = make_prediction("completed", "processing", "pending")

    for _ in range(2):
        answer = api.post(f"{PREDICTIONS}/{made[0].id}/cancel")
        assert (answer.status_code, answer.json()["status"], len(answer.json()["output"])) == (200, "canceled", 1)

    assert {generation.status_name for generation in Generation.objects.all()} == {"completed", "cancelled"}


def test_cancel__of_a_finished_prediction_changes_nothing(api, make_completed):
    answer = api.post(f"{PREDICTIONS}/{make_completed().id}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def test_account__is_the_key(api, key):
    assert api.get("/v1/account").json() == {
        "type": "user", "username": key.prefix, "name": "Test", "github_url": None
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "token"])
def test_token__has_two_schemes(key, scheme):
    assert Client().get(PREDICTIONS, headers={"Authorization": f"{scheme} {key.token}"}).status_code == 200


def test_errors__have_replicates_format(api, client_of, make_key, debug):
    assert_error(Client(headers={"Authorization": f"Token {tokens.make()}"}).get(PREDICTIONS), 401, "Unauthenticated")
    assert_error(api.get("/v1/collections"), 404, "Not Found")
    assert_error(api.get("/replicate/x"), 404, "Not Found")
    assert_error(api.put(PREDICTIONS), 405, "Method Not Allowed")
    assert_error(send(api, PREDICTIONS, b"x" * 1_100_000), 413, "Request Entity Too Large")
    limited = client_of(make_key(rate_limit=1))
    limited.get(PREDICTIONS)
    answer = limited.get(PREDICTIONS)
    error = assert_error(answer, 429, "Too Many Requests", "limit")
    assert (error["type"], int(answer["Retry-After"]) > 0) == ("urn:lockngen:problem:rate-limited", True)


def test_show__is_not_counted_but_throttled(client_of, make_key, make_generation, monkeypatch):
    key = make_key(rate_limit=1)
    generation, client = make_generation(api_key=key), client_of(key)
    monkeypatch.setattr(free_calls, "throttle", Throttle(3))

    answers = [client.get(f"{PREDICTIONS}/{generation.id}") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert_error(answers[3], 429, "Too Many Requests")
    assert client.get(PREDICTIONS).status_code == 200


def test_stream__needs_no_key_with_its_signature(api, make_generation):
    generation = make_generation()
    address = urlsplit(get(api, generation)["urls"]["stream"])

    def status(path: str) -> int:
        return Client().get(f"{path}?{address.query}").status_code

    assert status(address.path) == 200
    assert status(f"{NATIVE}/{generation.id}/events") == 401
    assert status(f"/v1/files/{make_generation().id}/events") == 401
