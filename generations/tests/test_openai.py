"""OpenAI's HTTP API, without its SDKs."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse

import openai
import pytest
from django.core.checks import run_checks
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apikeys import tokens
from generations.dialects import models
from generations.dialects import openai as dialect
from generations.models import Generation
from generations.renderers.pool import RendererPool
from generations.tests.support.calls import URL as NATIVE
from generations.tests.support.quick_web import quick_web
from lockngen.database.breaker import breaker
from lockngen.tests.support.waiting import wait_until

URL = "/v1/images/generations"
NULLABLE = ("model", "n", "size", "width", "steps", "cfg", "output_compression", "stream", "response_format", "user")
CODES = {"invalid_request_error": range(400, 500), "rate_limit_error": [429], "server_error": range(500, 600)}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def web(django_db_setup, django_db_blocker, tmp_path_factory):
    with quick_web(django_db_blocker, tmp_path_factory.mktemp("web"), WEB_WAITING_PER_KEY="2") as web:
        yield web


@pytest.fixture(autouse=True)
def image_folder(settings, web):
    settings.MEDIA_ROOT = web.images
    return web.images


def post(api, **fields):
    return api.post(URL, {"prompt": "a cat", **fields}, content_type="application/json")


def created(api, **fields) -> Generation:
    """The generation of a call, whose response the test client doesn't wait for."""
    answer = post(api, **fields)
    assert answer.status_code == 200, answer.content
    return Generation.objects.latest("id")


def assert_error(answer, status: int, *, param: str | None = None, code: str | None = None, words: str = "") -> None:
    body = answer.body if isinstance(answer, HTTPResponse) else answer.content
    status_code = answer.status if isinstance(answer, HTTPResponse) else answer.status_code
    error = json.loads(body)
    assert (status_code, error["error"]["param"], error["error"]["code"]) == (status, param, code), body
    assert answer.headers["Content-Type"].startswith("application/json")
    assert set(error) == {"error"}
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert status in CODES[error["error"]["type"]]
    assert words in error["error"]["message"]
    assert int(answer.headers.get("Retry-After", 0)) < 120


class Blocked:
    """A call in a thread of its own."""

    threads = ThreadPoolExecutor(10)

    def __init__(self, web, key, **fields):
        self.connection = HTTPConnection("127.0.0.1", web.port, timeout=30)
        body = json.dumps({"prompt": "a cat", "size": "64x64", **fields})
        headers = {"Authorization": f"Bearer {key.token}"}
        self.future = self.threads.submit(self._call, body, headers)

    def _call(self, body: str, headers: dict[str, str]) -> HTTPResponse:
        with closing(self.connection):
            self.connection.request("POST", URL, body, headers)
            answer = self.connection.getresponse()
            answer.body = answer.read()
            return answer

    def result(self) -> HTTPResponse:
        return self.future.result(30)


@pytest.fixture
def call(web, key):
    """Start a call, and return it with its generation."""

    def call(**fields) -> tuple[Blocked, Generation]:
        before = Generation.objects.count()
        blocked = Blocked(web, key, **fields)
        wait_until(lambda: Generation.objects.count() > before or blocked.future.done())
        return blocked, Generation.objects.latest("id")

    return call


def ask(web, method: str, path: str, body: str | None = None, token: str = "", **headers: str) -> HTTPResponse:
    with closing(HTTPConnection("127.0.0.1", web.port, timeout=30)) as connection:
        connection.request(method, path, body, {"Authorization": f"Bearer {token}", **headers})
        answer = connection.getresponse()
        answer.body = answer.read()
        return answer


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ({}, {"width": 512, "height": 512, "model": "default", "seed": None, "output_format": None}),
        ({"size": "auto"}, {"width": 512, "height": 512}),
        ({"size": "1024x1792"}, {"width": 1024, "height": 1792}),
        ({"size": "1024x1792", "width": 64}, {"width": 64, "height": 1792}),
        ({"width": 128, "height": 64, "seed": 7, "steps": 3}, {"width": 128, "height": 64, "seed": 7, "steps": 3}),
        ({"num_inference_steps": 9}, {"steps": 9}),
        ({"cfg": 2}, {"guidance": 2.0}),
        ({"cfg_scale": 2.5}, {"guidance": 2.5}),
        ({"guidance": 3}, {"guidance": 3.0}),
        ({"guidance_scale": 3}, {"guidance": 3.0}),
        ({"steps": 9, "num_inference_steps": 10, "cfg_scale": 2.5, "cfg": 2}, {"steps": 9, "guidance": 2.5}),
        ({"negative_prompt": "a dog"}, {"negative_prompt": "a dog"}),
        ({"model": "dall-e-3"}, {"model": "default"}),
        ({"model": "sketch"}, {"model": "sketch"}),
        ({"output_format": "webp", "output_compression": 40}, {"output_format": "webp", "quality": 40}),
        ({"output_format": "jpeg", "output_compression": 0}, {"output_format": "jpeg", "quality": 1}),
        ({"output_format": "png", "output_compression": 100}, {"output_format": "png", "quality": None}),
        ({"output_compression": 100}, {"output_format": None, "quality": None}),
        (dict.fromkeys(NULLABLE), {"width": 512, "steps": 30, "quality": None}),
    ],
)
def test_parameters__are_those_of_a_generation(api, body, stored):
    generation = created(api, **body)

    assert {name: getattr(generation, name) for name in stored} == stored


@pytest.mark.parametrize(
    "field",
    [
        *("quality", "style", "background", "moderation", "user", "safety_identifier", "sampler", "quality_level"),
        *("image", "mask", "metadata", "extra_body", "webhook", "webhook_events_filter"),
    ],
)
@pytest.mark.parametrize("value", ["auto", 7, {"a": [1]}, True])
def test_unknown_field__is_ignored(api, field, value):
    assert created(api, **{field: value}).quality is None


def test_n__makes_as_many_generations(api):
    created(api, n=3, seed=5)

    assert [row.seed for row in Generation.objects.order_by("id")] == [5, 6, 7]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"),
        *(({"size": size}, "size") for size in ("", "512", "32x512", "512x2056", "100x100", "1e3x64", "64X64x", 512)),
        *(({name: 63}, name) for name in ("width", "height")),
        *(({name: 0}, name) for name in ("steps", "num_inference_steps")),
        *(({name: "a"}, name) for name in ("cfg", "cfg_scale", "guidance", "guidance_scale")),
        ({"seed": -1}, "seed"),
        ({"negative_prompt": 1}, "negative_prompt"),
        *(({"n": n}, "n") for n in (0, 11, "2", 1.5)),
        ({"response_format": "path"}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_format": "jpeg", "output_compression": 101}, "output_compression"),
        ({"stream": "yes"}, "stream"),
        ({"partial_images": 4}, "partial_images"),
    ],
)
def test_invalid_field__is_named(web, key, body, param):
    answer = ask(web, "POST", URL, json.dumps({"prompt": "a cat", **body}), key.token)

    assert_error(answer, 400, param=param, words=f"{param}: ")
    assert answer.headers["X-Should-Retry"] == "false"
    assert not Generation.objects.exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(), each, max_size=2),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from(sorted(dialect.KNOWN)), JSON, max_size=5))
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body__is_accepted_or_refused(client_of, make_key, fields):
    answer = post(client_of(make_key(rate_limit=0)), **fields)

    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert json.loads(answer.content)["error"]["message"]
    answer.close()


def test_long_prompt__is_refused_with_the_limit(web, key):
    answer = ask(web, "POST", URL, json.dumps({"prompt": "x" * 2001}), key.token)

    assert_error(answer, 400, param="prompt", words="at most 2000 characters")


def test_unknown_model__is_refused_with_the_valid_ones(web, key):
    answer = ask(web, "POST", URL, json.dumps({"prompt": "a cat", "model": "sd-99"}), key.token)

    assert_error(answer, 400, param="model", code="model_not_found", words="default, sketch")


@pytest.mark.parametrize(
    ("method", "path", "body", "token", "headers", "status", "code"),
    [
        ("POST", URL, "{}", "", {}, 401, "invalid_api_key"),
        ("POST", URL, "{}", "sk-wrong", {}, 401, "invalid_api_key"),
        ("GET", "/v1/models", None, "unknown", {}, 401, "invalid_api_key"),
        ("POST", URL, "{", "own", {}, 400, None),
        ("POST", URL, "[]", "own", {}, 400, None),
        ("POST", URL, "--x--", "own", {"Content-Type": "multipart/form-data; boundary=x"}, 415, None),
        ("POST", URL, "x" * (2**20 + 1), "own", {}, 413, None),
        ("GET", URL, None, "own", {}, 405, None),
        ("DELETE", "/v1/models/sketch", None, "own", {}, 405, None),
        ("GET", "/v1/models/sd-99", None, "own", {}, 404, "model_not_found"),
        ("POST", "/v1/chat/completions", "{}", "own", {}, 404, None),
        ("GET", "/v1", None, "own", {}, 404, None),
        ("GET", "/v1/", None, "own", {}, 404, None),
        ("GET", "/v1/models/", None, "own", {}, 404, None),
        ("GET", "/v1/models?api_key=x", None, "own", {}, 400, "key_in_query"),
        ("GET", "/v1/models", None, "own", {"Host": "evil.example.org"}, 400, None),
    ],
)
def test_error__has_the_envelope(web, key, method, path, body, token, headers, status, code):
    token = {"own": key.token, "unknown": tokens.make()}.get(token, token)

    answer = ask(web, method, path, body, token, **headers)

    assert_error(answer, status, code=code)
    assert answer.headers["X-Should-Retry"] == "false"
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert bool(answer.headers["Allow"]) == (status == 405)


def test_error_of_another_api__keeps_its_format(web, key):
    for path in (f"{NATIVE}/x", "/v1/predictions/x", "/v1/models/a/b"):
        assert ask(web, "GET", path, token=key.token).headers["Content-Type"] == "application/problem+json"


def test_used_up_limit__may_be_retried(web, make_key):
    key = make_key(rate_limit=1)

    first, second = (ask(web, "GET", "/v1/models", token=key.token) for _ in range(2))

    assert first.status == 200
    assert_error(second, 429, code="rate_limit_exceeded")
    assert 1 <= int(second.headers["Retry-After"]) <= 60
    assert second.headers["X-Should-Retry"] is None


def test_used_up_quota__may_be_retried(web, make_key):
    key = make_key(max_pending=1)
    body = json.dumps({"prompt": "a cat", "n": 2})

    answer = ask(web, "POST", URL, body, key.token)

    assert_error(answer, 429, code="queue_full")
    assert answer.headers["X-Should-Retry"] is None
    assert not Generation.objects.exists()


def test_too_many_waits__may_be_retried(web, key, call):
    calls = [call() for _ in range(2)]

    answer = ask(web, "POST", URL, '{"prompt": "a cat"}', key.token)

    assert_error(answer, 429, code="too_many_at_once")
    assert answer.headers["X-Should-Retry"] is None
    assert Generation.objects.count() == 2
    Generation.objects.all().cancel()
    assert {blocked.result().status for blocked, _ in calls} == {409}


def test_outage__may_be_retried(client, monkeypatch):
    monkeypatch.setattr(type(breaker), "is_open", True)

    answer = client.get("/v1/models")

    assert_error(answer, 503)
    assert not answer.has_header("X-Should-Retry")


def test_unexpected_error__has_the_envelope(api, monkeypatch):
    monkeypatch.setattr(models, "available", lambda: 1 / 0)

    answer = api.get("/v1/models")

    assert_error(answer, 500, words="internal error")


@pytest.mark.parametrize("response_format", ["b64_json", "url"])
def test_completed_generation__is_the_response(call, run, response_format):
    blocked, generation = call(response_format=response_format, output_format="webp")

    run(generation)

    answer = blocked.result()
    shown = json.loads(answer.body)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert set(shown) == {"created", "data", "size", "output_format"}
    assert (shown["created"], shown["size"], shown["output_format"]) == (
        int(generation.created_at.timestamp()), "64x64", "webp",
    )  # fmt: skip
    assert [list(image) for image in shown["data"]] == [[response_format]]
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert answer.headers["RateLimit-Remaining"]


def test_failed_generation__is_an_error_that_is_not_retried(call):
    blocked, generation = call()

    generation.fail(generation.start(), "It is too large.")

    answer = blocked.result()
    assert_error(answer, 500, code="generation_failed", words="It is too large.")
    assert answer.headers["X-Should-Retry"] == "false"


@pytest.mark.parametrize(("end", "code"), [("cancel", "generation_cancelled"), ("delete", "generation_deleted")])
def test_cancelled_generation__is_an_error_that_is_not_retried(call, end, code):
    blocked, generation = call()

    getattr(generation, end)()

    answer = blocked.result()
    assert_error(answer, 409, code=code, words=str(generation.pk))
    assert answer.headers["X-Should-Retry"] == "false"


def test_one_failure_of_several__is_the_response(call, run):
    blocked, _ = call(n=2)
    first, second = Generation.objects.order_by("id")

    run(first)
    second.fail(second.start(), "It is too large.")

    assert_error(blocked.result(), 500, code="generation_failed")


def test_missing_file__is_an_error_that_is_not_retried(call, run, image_folder):
    blocked, _ = call(n=2)
    first, second = Generation.objects.order_by("id")
    run(first)
    (image_folder / first.image_path).unlink()

    run(second)

    answer = blocked.result()
    assert_error(answer, 404, words="missing from the storage")
    assert answer.headers["X-Should-Retry"] == "false"


def test_unavailable_storage__may_be_retried(call, run, image_folder):
    blocked, _ = call(n=2)
    first, second = Generation.objects.order_by("id")
    run(first)
    (image_folder / first.image_path).unlink()
    (image_folder / first.image_path).mkdir()

    run(second)

    answer = blocked.result()
    assert_error(answer, 503, words="Try again")
    assert answer.headers["X-Should-Retry"] is None


def test_wait_that_runs_out__makes_no_second_generation(web, key, make_key):
    """And a key that is revoked meanwhile ends its call. They wait at the same time, as each takes seconds."""
    revoked = make_key()
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{web.port}/v1", api_key=key.token)
    sdk = Blocked.threads.submit(client.images.generate, prompt="a cat")
    stream, refused = Blocked(web, key, stream=True), Blocked(web, revoked)
    wait_until(lambda: Generation.objects.count() == 3)

    revoked.revoke()

    assert_error(refused.result(), 401, code="invalid_api_key")
    assert not sdk.done()
    with pytest.raises(openai.InternalServerError) as raised:
        sdk.result()
    assert (raised.value.status_code, raised.value.code) == (504, "wait_timeout")
    assert NATIVE in raised.value.message
    ((_, data),) = events(stream.result().body)
    assert json.loads(data)["error"]["code"] == "wait_timeout"
    assert [row.status_name for row in Generation.objects.all()] == ["pending"] * 3


def test_client_that_disconnects__frees_its_place_and_loses_nothing(web, key, call, run):
    gone = [call() for _ in range(2)]
    for blocked, _ in gone:
        blocked.connection.sock.close()

    for _, generation in gone:
        run(generation)

    blocked, generation = wait_until(lambda: (started := call()) and not started[0].future.done() and started)
    run(generation)
    assert blocked.result().status == 200
    assert [row.status_name for row in Generation.objects.all()] == ["completed"] * 3


@pytest.mark.parametrize("header", [{"Idempotency-Key": "a"}, {"X-Stainless-Retry-Count": "1"}])
def test_repeated_call__gets_the_images_of_the_first(web, key, call, run, header):
    body, first = json.dumps({"prompt": "a cat", "size": "64x64"}), {**header, "X-Stainless-Retry-Count": "0"}
    before = Blocked.threads.submit(ask, web, "POST", URL, body, key.token, **first)
    generation = wait_until(lambda: Generation.objects.first())
    run(generation)

    again = ask(web, "POST", URL, body, key.token, **header)

    assert again.body == before.result().body
    assert (before.result().headers["Idempotent-Replayed"], again.headers["Idempotent-Replayed"]) == (None, "true")
    assert Generation.objects.count() == 1


def test_idempotency_key__with_another_body_is_refused(web, key, api):
    headers = {"Idempotency-Key": "a"}
    api.post(URL, {"prompt": "a cat"}, content_type="application/json", headers=headers)

    answer = ask(web, "POST", URL, '{"prompt": "a dog"}', key.token, **headers)

    assert_error(answer, 422, code="idempotency_key_reused")


def events(body: bytes) -> list[tuple[str, str]]:
    """The names and data of a stream, and its end."""
    assert b"retry:" not in body  # the Python SDK takes it for an event
    fields = [dict(line.split(": ", 1) for line in part.split("\n")) for part in body.decode().strip().split("\n\n")]
    return [(each.get("event", ""), each["data"]) for each in fields if "data" in each]


def test_stream__has_each_image_and_then_the_end(call, run):
    blocked, _ = call(stream=True, n=2, partial_images=3)
    first, second = Generation.objects.order_by("id")

    run(second)
    run(first)

    answer = blocked.result()
    *completed, end = events(answer.body)
    shown = [json.loads(data) for _, data in completed]
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert [name for name, _ in completed] == ["image_generation.completed"] * 2
    assert set(shown[0]) == {"type", "b64_json", "created_at", "size", "output_format", "quality", "background"}
    assert shown[0]["b64_json"] != shown[1]["b64_json"]
    assert end == ("", "[DONE]")


def test_stream__ends_with_the_failure(call):
    blocked, generation = call(stream=True)

    generation.fail(generation.start(), "It is too large.")

    ((name, data),) = events(blocked.result().body)
    assert name == ""
    assert json.loads(data)["error"]["code"] == "generation_failed"


def test_models__are_those_that_can_be_rendered(api, settings, monkeypatch):
    settings.MODEL_ALIASES = {"dall-e-2": "default", "other": "missing"}

    listed = api.get("/v1/models").json()

    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["sketch", "default", "dall-e-2"]
    assert api.get("/v1/models/dall-e-2").json() == listed["data"][2]
    assert {type(listed["data"][0][name]) for name in ("id", "object", "owned_by")} == {str}
    assert listed["data"][0]["created"] == 0

    monkeypatch.setattr(RendererPool, "unavailable", lambda self: {"sketch": "it is gone"})
    assert api.get("/v1/models").json()["data"] == []
    assert api.get("/v1/models/default").status_code == 404


def test_check__names_aliases_that_stand_for_no_model(settings):
    settings.MODEL_ALIASES = {"dall-e-2": "default", "gpt-image-1": "sdxl"}

    (found,) = [message for message in run_checks() if message.id == "generations.I006"]

    assert "gpt-image-1 stands for sdxl" in found.msg
    assert "sketch" in found.hint


def test_preflight__allows_what_the_sdk_sends(settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.org"]
    sent = "authorization,content-type,x-stainless-lang,x-stainless-retry-count,x-stainless-timeout"
    headers = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}

    answer = Client().options(URL, headers={**headers, "Access-Control-Request-Headers": sent})

    assert answer["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert set(sent.split(",")) <= set(answer["Access-Control-Allow-Headers"].split(", "))


def test_head__of_the_models_has_no_body(web, key):
    answer = ask(web, "HEAD", "/v1/models", token=key.token)

    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


def test_options__without_cors_is_refused(web, key):
    assert_error(ask(web, "OPTIONS", URL, token=key.token), 405)
