"""Invalid bodies, query parameters and addresses: the error of each, and that none repeats a token."""

import json
import time
from urllib.parse import quote

import pytest
from django.test import Client

from generations.models import Generation
from generations.tests.support.calls import URL, assert_problem, post

MULTIPART = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncat\r\n--b--'
HALF = "half of a surrogate pair"
REFUSED = {  # body, status, words of the detail
    "half a character in prompt": (rb'{"prompt":"cat \ud83d"}', 422, ["prompt", HALF]),
    "in negative prompt": (rb'{"prompt":"cat","negative_prompt":"\udc00"}', 422, ["negative_prompt", HALF]),
    "in model": (rb'{"prompt":"cat","model":"\ud800"}', 422, ["model", HALF]),
    "in a field's name": (rb'{"prompt":"cat","\ud83d":1}', 422, [r"\ud83d", HALF]),
    "in a number's place": (rb'{"prompt":"cat","seed":"\ud83d"}', 422, ["seed", HALF]),
    "in a list": (rb'{"prompt":["\ud83d"]}', 422, ["prompt"]),
    "in an object": (rb'{"prompt":{"x":"\ud83d"}}', 422, ["x", HALF]),
    "alone": (rb'"\ud83d"', 422, ["body"]),
    "as raw bytes": (b'{"prompt":"\xed\xa0\x80"}', 400, ["not UTF-8", "byte 11"]),
    "Latin-1": (b'{"prompt":"caf\xe9"}', 400, ["not UTF-8", "byte 14"]),
    "UTF-16": ('{"prompt":"cat"}'.encode("utf-16"), 400, ["not UTF-8", "byte 0"]),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 400, ["not UTF-8", "Send JSON"]),
    "a form": (b"prompt=cat", 400, ["not valid JSON", "line 1, column 1"]),
    "a field twice": (b'{"prompt":"cat","prompt":"dog"}', 400, ["'prompt' twice"]),
    "deep": (b'{"prompt":' + b"[" * 100_000, 400, ["nested too deeply"]),
    "deep enough to read": (b'{"x":' + b"[" * 100 + b"]" * 100 + b"}", 422, ["prompt", "x"]),
    "a huge number": (b'{"prompt":"cat","seed":' + b"9" * 5000 + b"}", 400, ["too long"]),
    "a large number": (b'{"prompt":"cat","seed":' + b"9" * 4000 + b"}", 422, ["seed"]),
    "infinity": (b'{"prompt":"cat","guidance":1e999}', 422, ["guidance"]),
    "NaN": (b'{"prompt":"cat","guidance":NaN}', 422, ["guidance"]),
    "zero width": (r'{"prompt":"\u200b"}', 422, ["prompt", "blank"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_create__names_the_error_of_a_body(api, debug, case):
    body, status, words = REFUSED[case]

    assert_problem(post(api, body), status, *words)
    assert not Generation.all_objects.exists()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncat\r\n--b--',
        ),
        ("image/png", b"\x89PNG\r\n\x1a\n"),
        ("application/x-www-form-urlencoded", b"prompt=cat"),
        ("text/plain", b"a cat"),
    ],
)
def test_create__of_another_type_is_a_415(api, debug, content_type, body):
    answer = api.generic("POST", URL, body, content_type=content_type)

    assert_problem(answer, 415, "Send JSON", "application/json")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_create__accepts_json_of_any_declared_type(api, content_type):
    assert api.generic("POST", URL, b'{"prompt":"cat"}', content_type=content_type).status_code == 201


def test_create__accepts_a_byte_order_mark(api):
    assert post(api, b'\xef\xbb\xbf{"prompt":"cat"}').json()["prompt"] == "cat"


def test_create__keeps_every_code_point(api):
    prompt = "مرحبا \u202eabc\u200b\u200d 👩‍👩‍👧‍👦 e\u0301 \ufeff"

    for body in (json.dumps({"prompt": prompt}), json.dumps({"prompt": prompt}, ensure_ascii=False).encode()):
        answer = post(api, body)

        assert answer.json()["prompt"] == prompt
        assert Generation.objects.get(pk=answer.json()["id"]).prompt == prompt


@pytest.mark.parametrize(
    "prompt", ["\u200b", "\u00a0\u3000", "\u202e\ufeff", "\u2800", "\u3164\ufe0f", "\x01\x7f", "\u034f \U000e0101"]
)
def test_create__refuses_a_prompt_of_invisible_characters(api, prompt):
    assert_problem(post(api, {"prompt": prompt}), 422, "prompt", "blank")


def test_create__is_fast_with_100_000_unknown_fields(api):
    body = json.dumps({f"f{number}": 0 for number in range(85_000)} | {"prompt": "x"}, separators=(",", ":"))

    started_at = time.process_time()
    answer = post(api, body)

    assert time.process_time() - started_at < 1
    assert_problem(answer, 422, "f0", "f9")
    assert [error["field"] for error in answer.json()["errors"]] == [f"f{number}" for number in range(20)]


@pytest.mark.parametrize("method", ["get", "post", "delete"])
@pytest.mark.parametrize("path", ["", "/01a2060a-d97e-74b1-8053-66d169bbcd7f", "/x/image", "/x/events", "/x/cancel"])
def test_query__refuses_unknown_parameters(api, method, path):
    answer = getattr(api, method)(f"{URL}{path}?page=2&limit=x")

    if answer.status_code == 405:
        return
    assert_problem(answer, 422, "page", "this call takes")
    assert "page" in [error["field"] for error in answer.json()["errors"]]


def test_query__names_the_valid_parameters(api):
    valid = "status, model, q, label, created_after, created_before, limit, cursor"
    assert_problem(api.get(f"{URL}?page=2"), 422, "page", valid)
    assert_problem(api.get("/api/v1/key?verbose=1"), 422, "verbose", "takes none")


def test_query__is_checked_after_the_key():
    assert_problem(Client().get(f"{URL}?page=2"), 401)


def test_query__of_very_many_parameters_is_refused_with_a_short_error(api):
    answer = api.get(f"{URL}?" + "&".join(f"p{number}=1" for number in range(900)))

    assert_problem(answer, 422)
    assert len(answer.content) < 5000


def encoded(token: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in token)


@pytest.mark.parametrize("form", [str, encoded, lambda token: quote(encoded(token)), lambda token: token[:30]])
def test_error__never_repeats_a_token(api, key, form):
    token = form(key.token)
    answers = [
        post(api, {"prompt": "cat", token: 1}),
        post(api, {"prompt": "cat", "model": token}),
        post(api, f'{{"{token}":1,"{token}":2}}'),
        post(api, f'{{"{token}\\ud800":1}}'),
        post(api, f'{{"{token}'),
        api.get(f"{URL}/{token}"),
        api.get(f"/api/{token}"),
        api.get(URL, {"cursor": token}),
        api.get(f"{URL}?{token}=1"),
        api.get(f"{URL}?status={token}"),
    ]

    for answer in answers:
        assert answer.status_code >= 400
        assert key.token[14:30] not in answer.content.decode()
        assert encoded(key.token)[42:90] not in answer.content.decode()
