"""Calls of OpenAI's HTTP API that wait for their images, and errors, through a real web process."""

import json
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import openai
import pytest

from apikeys import tokens
from generations.images import files, formats
from generations.models import Generation
from generations.progress.reports import Report
from generations.tests.support.calls import URL as NATIVE
from generations.tests.support.encoded import PNG
from generations.tests.support.openai_dialect import URL, assert_error
from generations.tests.support.waiting_calls import QUICK_WEB, WaitingCall
from lockngen.tests.support.waiting import wait_until

WEB_OPTIONS = {**QUICK_WEB, "WEB_WAITING_PER_KEY": "2"}
BODY = {"prompt": "a cat", "size": "64x64"}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("images_of_web")]


def ask(web, method: str, path: str, body=None, token: str = "", **headers: str) -> WaitingCall:
    return WaitingCall(web, method, path, body, **{"Authorization": f"Bearer {token}", **headers})


@pytest.fixture
def call(web, key):
    """Start a call, and return it with its generation."""

    def call(**fields) -> tuple[WaitingCall, Generation]:
        before = Generation.objects.count()
        waiting = ask(web, "POST", URL, {**BODY, **fields}, key.token)
        wait_until(lambda: Generation.objects.count() > before or waiting.is_done)
        return waiting, Generation.objects.latest("id")

    return call


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

    answer = ask(web, method, path, body, token, **headers).result()

    assert_error(answer, status, code=code)
    assert answer.headers["X-Should-Retry"] == "false"
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert bool(answer.headers["Allow"]) == (status == 405)


def test_too_many_waits__may_be_retried(web, key, call):
    calls = [call() for _ in range(2)]

    answer = ask(web, "POST", URL, BODY, key.token).result()

    assert_error(answer, 429, code="too_many_at_once")
    assert answer.headers["X-Should-Retry"] is None
    assert Generation.objects.count() == 2
    Generation.objects.all().cancel()
    assert {waiting.result().status for waiting, _ in calls} == {409}


@pytest.mark.parametrize("response_format", ["b64_json", "url"])
def test_completed_generation__is_the_response(call, run, response_format):
    waiting, generation = call(response_format=response_format, output_format="webp")

    run(generation)

    answer = waiting.result()
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
    waiting, generation = call()

    generation.fail(generation.start(), "It is too large.")

    answer = waiting.result()
    assert_error(answer, 500, code="generation_failed", words="It is too large.")
    assert answer.headers["X-Should-Retry"] == "false"


@pytest.mark.parametrize(("end", "code"), [("cancel", "generation_cancelled"), ("delete", "generation_deleted")])
def test_cancelled_generation__is_an_error_that_is_not_retried(call, end, code):
    waiting, generation = call()

    getattr(generation, end)()

    answer = waiting.result()
    assert_error(answer, 409, code=code, words=str(generation.pk))
    assert answer.headers["X-Should-Retry"] == "false"


def test_one_failure_of_several__is_the_response(call, run):
    waiting, _ = call(n=2)
    first, second = Generation.objects.order_by("id")

    run(first)
    second.fail(second.start(), "It is too large.")

    assert_error(waiting.result(), 500, code="generation_failed")


def test_missing_file__is_an_error_that_is_not_retried(call, run, images_of_web):
    waiting, _ = call(n=2)
    first, second = Generation.objects.order_by("id")
    run(first)
    (images_of_web / first.image_path).unlink()

    run(second)

    answer = waiting.result()
    assert_error(answer, 404, words="missing from the storage")
    assert answer.headers["X-Should-Retry"] == "false"


def test_unavailable_storage__may_be_retried(call, run, images_of_web):
    waiting, _ = call(n=2)
    first, second = Generation.objects.order_by("id")
    run(first)
    (images_of_web / first.image_path).unlink()
    (images_of_web / first.image_path).mkdir()

    run(second)

    answer = waiting.result()
    assert_error(answer, 503, words="Try again")
    assert answer.headers["X-Should-Retry"] is None


def test_wait_that_runs_out__makes_no_second_generation(web, key, make_key):
    """And a key that is revoked meanwhile ends its call. They wait at the same time, as each takes seconds."""
    revoked = make_key()
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{web.port}/v1", api_key=key.token)
    sdk = WaitingCall.threads.submit(client.images.generate, prompt="a cat")
    stream = ask(web, "POST", URL, {**BODY, "stream": True}, key.token)
    refused = ask(web, "POST", URL, BODY, revoked.token)
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
    for waiting, _ in gone:
        waiting.connection.sock.close()

    for _, generation in gone:
        run(generation)

    waiting, generation = wait_until(lambda: (started := call()) and not started[0].is_done and started)
    run(generation)
    assert waiting.result().status == 200
    assert [row.status_name for row in Generation.objects.all()] == ["completed"] * 3


@pytest.mark.parametrize("header", [{"Idempotency-Key": "a"}, {"X-Stainless-Retry-Count": "1"}])
def test_repeated_call__gets_the_images_of_the_first(web, key, run, header):
    before = ask(web, "POST", URL, BODY, key.token, **{**header, "X-Stainless-Retry-Count": "0"})
    run(wait_until(lambda: Generation.objects.first()))

    again = ask(web, "POST", URL, BODY, key.token, **header).result()

    assert again.body == before.result().body
    assert (before.result().headers["Idempotent-Replayed"], again.headers["Idempotent-Replayed"]) == (None, "true")
    assert Generation.objects.count() == 1


def events(body: bytes) -> list[tuple[str, str]]:
    """The names and data of a stream, and its end."""
    assert b"retry:" not in body  # the Python SDK takes it for an event
    fields = [dict(line.split(": ", 1) for line in part.split("\n")) for part in body.decode().strip().split("\n\n")]
    return [(each.get("event", ""), each["data"]) for each in fields if "data" in each]


def test_stream__has_each_image_and_then_the_end(call, run):
    waiting, _ = call(stream=True, n=2, partial_images=3)
    first, second = Generation.objects.order_by("id")

    run(second)
    run(first)

    answer = waiting.result()
    *completed, end = events(answer.body)
    shown = [json.loads(data) for _, data in completed]
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert [name for name, _ in completed] == ["image_generation.completed"] * 2
    assert set(shown[0]) == {"type", "b64_json", "created_at", "size", "output_format", "quality", "background"}
    assert shown[0]["b64_json"] != shown[1]["b64_json"]
    assert end == ("", "[DONE]")


@pytest.mark.parametrize(("partial_images", "percents"), [(0, []), (1, [60]), (3, [30, 60, 80])])
def test_stream__of_the_sdk_has_partial_images_at_equal_parts_of_the_progress(web, key, partial_images, percents):
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{web.port}/v1", api_key=key.token, max_retries=0)
    received = SimpleQueue()

    def follow() -> None:
        options = {"stream": True, "partial_images": partial_images}
        with client.images.generate(prompt="a cat", size="64x64", **options) as stream:
            for event in stream:
                received.put(event)

    with ThreadPoolExecutor() as threads:
        call = threads.submit(follow)
        generation = wait_until(lambda: Generation.objects.first())
        attempt = generation.start()
        shown = []
        for number, percent in enumerate((10, 30, 60, 80, 99), 1):
            repeat = partial(generation.publish, Report(attempt, percent, preview=number), b"%d" % percent)
            if percent in percents:  # a report that is sent before the process listens is lost
                wait_until(lambda: repeat() and not received.empty())  # noqa: B023
                shown.append(received.get())
            else:
                repeat()
        image = files.store(generation, attempt, formats.read(PNG))
        generation.complete(attempt, **image)
        call.result(30)

    assert [b64decode(event.b64_json) for event in shown] == [b"%d" % percent for percent in percents]
    assert [event.partial_image_index for event in shown] == list(range(partial_images))
    assert {(event.type, event.output_format, event.size) for event in shown} <= {
        ("image_generation.partial_image", "webp", "64x64")
    }
    assert [received.get().type for _ in range(received.qsize())] == ["image_generation.completed"]


def test_stream__ends_with_the_failure(call):
    waiting, generation = call(stream=True)

    generation.fail(generation.start(), "It is too large.")

    ((name, data),) = events(waiting.result().body)
    assert name == ""
    assert json.loads(data)["error"]["code"] == "generation_failed"


def test_head__of_the_models_has_no_body(web, key):
    answer = ask(web, "HEAD", "/v1/models", token=key.token).result()

    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0
