"""The OWASP API Security Top 10 (2023), each as what it means here. The details are tested where their code is."""

import json
from collections import Counter

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apikeys.models import ApiKey
from apikeys.tests.test_models import UNUSABLE
from generations.models import Generation
from generations.status import Status
from generations.tests.support.calls import URL, assert_problem, calls, post
from lockngen.urls import api as native_api

pytestmark = pytest.mark.django_db

INJECTED = [
    "<script>alert(1)</script>",
    "'; DROP TABLE generations_generation; --",
    "{{7*7}}",
    "../../etc/passwd",
    "\u202e",
]


@pytest.mark.parametrize("is_deleted", [False, True])
def test_api1_object_level_authorization__a_generation_of_another_key_is_not_found(
    make_generation, make_key, client_of, is_deleted
):
    generation, stranger = make_generation(), client_of(make_key())
    if is_deleted:
        generation.delete()
    before = Generation.all_objects.values().get()

    for answer in calls(stranger, generation.id).values():
        assert_problem(answer, 404)

    assert Generation.all_objects.values().get() == before
    assert stranger.get(URL).json()["items"] == []


@pytest.mark.parametrize("state", UNUSABLE)
def test_api2_authentication__an_unusable_key_is_refused(make_key, client_of, make_generation, state):
    key = make_key()
    generation = make_generation(api_key=key)
    ApiKey.all_objects.filter(pk=key.pk).update(**UNUSABLE[state])

    answers = [client_of(key).get("/api/v1/key"), post(client_of(key), {"prompt": "x"}), client_of(key).get(URL)]

    for answer in [*answers, *calls(client_of(key), generation.id).values()]:
        assert_problem(answer, 401)


@pytest.mark.parametrize("name", ["api_key", "token", "anything"])
def test_api2_authentication__a_key_in_the_query_is_refused(key, name):
    answer = Client().get(URL, {name: key.token})

    assert_problem(answer, 400)
    assert key.token not in answer.content.decode()


@pytest.mark.parametrize(
    "field",
    [
        "id",
        "api_key",
        "api_key_id",
        "status",
        "attempts",
        "image_path",
        "image_sha256",
        "error_message",
        "is_deleted",
        "created_at",
    ],
)
def test_api3_property_level_authorization__internal_fields_can_not_be_set(api, make_key, field):
    answer = post(api, {"prompt": "x", field: str(make_key().pk)})

    assert_problem(answer, 422, field)
    assert not Generation.objects.exists()


def test_api3_property_level_authorization__internal_fields_are_not_returned(api, make_generation, key):
    shown = json.dumps([api.get(f"{URL}/{make_generation().id}").json(), api.get("/api/v1/key").json()])

    for secret in ["key_hash", key.key_hash, key.token, str(key.pk), "_path", "attempts", "deleted"]:
        assert secret not in shown


def test_api4_resource_consumption__a_body_has_a_limit(api):
    assert_problem(post(api, {"prompt": "x" * 1024 * 1024}), 413)


@pytest.mark.parametrize("limit", [0, 101, 10**30])
def test_api4_resource_consumption__a_page_has_a_limit(api, limit):
    assert_problem(api.get(URL, {"limit": limit}), 422, "limit")


@pytest.mark.parametrize("field", [{"width": 4096}, {"height": 4096}, {"steps": 1000}, {"prompt": "x" * 2001}])
def test_api4_resource_consumption__an_image_has_limits(api, field):
    assert_problem(post(api, {"prompt": "x", **field}), 422, *field)


def test_api4_resource_consumption__requests_have_a_limit(make_key, client_of):
    client = client_of(make_key(rate_limit=5))

    statuses = Counter(client.get(URL).status_code for _ in range(8))

    assert statuses == {200: 5, 429: 3}


@pytest.mark.parametrize("path", ["/admin/", "/admin/apikeys/apikey/", "/admin/generations/generation/"])
def test_api5_function_level_authorization__a_key_gives_no_access_to_the_admin(api, path):
    answer = api.get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_api5_function_level_authorization__a_session_gives_no_access_to_the_api(client):
    client.force_login(User.objects.create_superuser("root"))

    assert_problem(client.get(URL), 401)


def test_api6_business_flows__one_client_can_not_fill_the_queue(make_key, client_of):
    ann, bea = client_of(make_key(max_pending=2)), client_of(make_key())

    statuses = [post(ann, {"prompt": "x"}).status_code for _ in range(3)]

    assert statuses == [201, 201, 429]
    assert post(bea, {"prompt": "x"}).status_code == 201


@pytest.mark.parametrize("field", ["callback_url", "image_url", "url"])
def test_api7_request_forgery__only_a_webhook_takes_an_address(api, field):
    assert_problem(post(api, {"prompt": "x", field: "http://169.254.169.254/latest/meta-data"}), 422, field)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "http://localhost:5432/", "file:///etc/passwd"]
)
def test_api7_request_forgery__a_webhook_reaches_no_private_address(api, url):
    """Nor does a delivery, whatever a name resolves to by then: generations/tests/webhooks/test_addresses.py."""
    answer = post(api, {"prompt": "a cat", "webhook": url})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "webhook")


def test_api8_misconfiguration__an_error_shows_no_stack_trace(api, debug, monkeypatch):
    monkeypatch.setattr(Generation.objects, "owned_by", lambda key: 1 / 0)

    answer = api.get(URL)

    assert_problem(answer, 500)
    assert not any(word in answer.content for word in (b"Traceback", b"division", b".py", b"lockngen"))


@pytest.mark.parametrize("path", ["/", URL, "/api/v1/docs", "/admin/login/"])
def test_api8_misconfiguration__responses_have_security_headers_and_no_cors_headers(client, path):
    answer = client.get(path, headers={"Origin": "https://evil.example.org"})

    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert not answer.has_header("Access-Control-Allow-Origin")


@pytest.mark.parametrize("prompt", INJECTED)
def test_api8_misconfiguration__text_is_stored_and_shown_as_text(api, key, make_generation, prompt):
    generation = make_generation(prompt=prompt)

    answer = api.get(f"{URL}/{generation.id}")

    assert answer["Content-Type"].startswith("application/json")
    assert answer.json()["prompt"] == prompt
    assert Generation.objects.count() == 1


def test_api9_inventory__every_address_of_the_api_is_documented_and_needs_a_key(client, make_generation):
    id, paths = str(make_generation().id), native_api.get_openapi_schema()["paths"]
    operations = [(path, method, paths[path][method]) for path in paths for method in paths[path]]

    assert len(operations) >= 13
    for path, method, operation in operations:
        schemes = [scheme for security in operation["security"] for scheme in security]
        assert schemes in (["BearerToken"], ["SignedUrl", "BearerToken"]), path
        assert {400, 401, 500, 503} <= set(map(int, operation["responses"])), path
        answer = getattr(client, method)(path.replace("{id}", id))
        assert_problem(answer, 401)
        assert answer["WWW-Authenticate"] == "Bearer"
    assert Generation.objects.get().status == Status.PENDING


def test_api10_consumption_of_others__a_file_outside_the_image_folder_is_not_read(api, make_generation, image_folder):
    """A renderer's image is stored under a generated name; a row with another path reads no other file."""
    image_folder.mkdir()
    (image_folder.parent / "secret.png").write_bytes(b"secret")
    generation = make_generation(
        status=Status.COMPLETED, image_path="../secret.png", completed_at="2026-01-01T00:00:00Z"
    )

    answer = api.get(f"{URL}/{generation.id}/image")

    assert answer.status_code >= 400
    assert b"secret" not in answer.content
