import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from generations.models import Generation
from generations.renderers.base import MAX_SEED
from generations.tests.support.calls import URL, assert_problem, post

FIELDS = {
    "output_format",
    "quality",
    "keep_metadata",
    "labels",
    "id", "status", "progress", "prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed",
    "image_url", "thumbnail_url", "signed_urls", "image", "error", "created_at", "started_at", "completed_at",
}  # fmt: skip
REFUSED = {
    "no prompt": ({}, "prompt"),
    "empty prompt": ({"prompt": ""}, "prompt"),
    "blank prompt": ({"prompt": " \n"}, "prompt"),
    "long prompt": ({"prompt": "x" * 2001}, "prompt"),
    "NUL in prompt": ({"prompt": "a\x00b"}, "prompt"),
    "NUL in negative prompt": ({"prompt": "x", "negative_prompt": "a\x00b"}, "negative_prompt"),
    "NUL in model": ({"prompt": "x", "model": "a\x00b"}, "model"),
    "half a character in prompt": ({"prompt": "\ud800"}, "prompt"),
    "number as prompt": ({"prompt": 1}, "prompt"),
    "null as prompt": ({"prompt": None}, "prompt"),
    "long negative prompt": ({"prompt": "x", "negative_prompt": "x" * 2001}, "negative_prompt"),
    "empty model": ({"prompt": "x", "model": ""}, "model"),
    "unknown model": ({"prompt": "x", "model": "sdxl"}, "model"),
    "long model": ({"prompt": "x", "model": "x" * 101}, "model"),
    "width as text": ({"prompt": "x", "width": "512"}, "width"),
    "width as float": ({"prompt": "x", "width": 512.0}, "width"),
    "width as truth": ({"prompt": "x", "width": True}, "width"),
    "null as width": ({"prompt": "x", "width": None}, "width"),
    "small width": ({"prompt": "x", "width": 56}, "width"),
    "large height": ({"prompt": "x", "height": 2056}, "height"),
    "odd height": ({"prompt": "x", "height": 513}, "height"),
    "no steps": ({"prompt": "x", "steps": 0}, "steps"),
    "many steps": ({"prompt": "x", "steps": 151}, "steps"),
    "endless steps": ({"prompt": "x", "steps": 10**400}, "steps"),
    "guidance as text": ({"prompt": "x", "guidance": "7"}, "guidance"),
    "guidance as truth": ({"prompt": "x", "guidance": True}, "guidance"),
    "large guidance": ({"prompt": "x", "guidance": 30.1}, "guidance"),
    "no guidance": ({"prompt": "x", "guidance": float("nan")}, "guidance"),
    "negative seed": ({"prompt": "x", "seed": -1}, "seed"),
    "large seed": ({"prompt": "x", "seed": 2**53}, "seed"),
    "labels as list": ({"prompt": "x", "labels": []}, "labels"),
    "number as label": ({"prompt": "x", "labels": {"a": 1}}, "labels.a"),
    "NUL in label": ({"prompt": "x", "labels": {"a": "\x00"}}, "labels.a"),
    "long label": ({"prompt": "x", "labels": {"a": "x" * 201}}, "labels.a"),
    "space in label name": ({"prompt": "x", "labels": {"a b": "x"}}, "labels.a b"),
    "label without name": ({"prompt": "x", "labels": {"": "x"}}, "labels."),
    "many labels": ({"prompt": "x", "labels": {str(number): "" for number in range(17)}}, "labels"),
    "unknown field": ({"prompt": "x", "promt": "y"}, "promt"),
    "status": ({"prompt": "x", "status": 2}, "status"),
    "owner": ({"prompt": "x", "api_key": "y"}, "api_key"),
    "list": ([], "body"),
    "text": ('"x"', "body"),
    "null": ("null", "body"),
    "nothing": ("", "body"),
}


def test_create__stores_the_parameters(api, key, waiting_jobs):
    parameters = {"prompt": "a lighthouse", "negative_prompt": "fog", "model": "sketch", "width": 640, "height": 64}
    parameters |= {"steps": 150, "guidance": 3, "seed": MAX_SEED}

    answer = post(api, parameters)

    assert answer.status_code == 201
    generation = Generation.objects.get()
    assert answer["Location"] == f"http://testserver{URL}/{generation.id}"
    assert answer.json().keys() == FIELDS
    assert answer.json() == {**answer.json(), **parameters, "status": "pending", "id": str(generation.id)}
    assert {name: getattr(generation, name) for name in parameters} == parameters
    assert generation.api_key == key
    assert waiting_jobs() == [str(generation.id)]


def test_create__uses_defaults(api):
    answer = post(api, {"prompt": "a lighthouse"}).json()

    expected = {"negative_prompt": "", "model": "default", "width": 512, "height": 512, "steps": 30, "guidance": 7.0}
    assert answer == {**answer, **expected, "seed": None, "image_url": None, "error": None, "completed_at": None}


def test_create__links_to_the_public_address(api, settings):
    settings.PUBLIC_URL = "https://images.example.org"

    answer = post(api, {"prompt": "a lighthouse"})

    assert answer["Location"].startswith("https://images.example.org/api/v1/generations/")


@pytest.mark.parametrize("prompt", ["x", "x" * 2000, "ü" * 2000, "😀" * 2000, '\'; DROP TABLE "x"; -- {}%s'])
def test_create__accepts_any_prompt_up_to_2000_characters(api, prompt):
    assert post(api, {"prompt": prompt}).json()["prompt"] == prompt
    assert Generation.objects.get().prompt == prompt


@pytest.mark.parametrize("case", REFUSED)
def test_create__names_the_invalid_field(api, case, waiting_jobs):
    body, field = REFUSED[case]

    answer = post(api, body)

    assert_problem(answer, 422, field)
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert not Generation.all_objects.exists()
    assert waiting_jobs() == []


@pytest.mark.parametrize("body", ["{", "prompt=x", b"\xff", "[" * 100_000, '{"seed": ' + "9" * 5000 + "}"])
def test_create__refuses_a_body_that_is_not_json(api, debug, body):
    assert_problem(post(api, body), 400, "JSON")
    assert not Generation.all_objects.exists()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(
            (path, body)
            for path in (URL, "/v1/images/generations", "/sdapi/v1/txt2img")
            for body in ("null", "[]", "1")
        ),
        (URL, '{"prompt": "x", "labels": []}'),
        ("/v1/predictions", '{"version": "sketch", "input": []}'),
    ],
)
def test_create__refuses_json_that_is_no_object_in_plain_words(api, path, body):
    answer = api.post(path, body, content_type="application/json")

    assert 400 <= answer.status_code < 500
    assert "it must be a JSON object" in answer.content.decode()


def test_create__reads_a_body_of_just_one_mebibyte(api):
    body = json.dumps({"prompt": ""})

    answer = post(api, body.replace('""', '"' + "x" * (2**20 - len(body)) + '"'))

    assert_problem(answer, 422, "prompt")


def test_create__names_the_first_of_very_many_invalid_fields(api):
    answer = post(api, {"x" * 1000 + str(number): 0 for number in range(500)})

    assert_problem(answer, 422)
    assert len(answer.json()["errors"]) == 20
    assert len(answer.content) < 10_000


def test_create__refuses_an_invalid_length(api, debug):
    assert_problem(post(api, {"prompt": "x"}, CONTENT_LENGTH="many"), 400, "Content-Length")


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*sorted(FIELDS), "x"]), inner),
        max_leaves=8,
    )
)
def test_create__answers_any_json_with_201_or_422(api, body):
    answer = post(api, json.dumps(body))

    assert answer.status_code in (201, 422), answer.content
