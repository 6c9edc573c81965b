"""Creating predictions by Replicate's API."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generations.dialects.replicate.inputs import Input
from generations.models import Generation
from generations.tests.support.replicate import (
    OF_MODEL,
    PREDICTIONS,
    VERSION,
    assert_error,
    create,
    created,
    send,
)


def test_create__answers_with_a_prediction(api, key):
    answer = create(api, negative_prompt="dogs", width=64, height=128, seed=7, num_inference_steps=5, guidance_scale=2)

    shown = answer.json()
    generation = Generation.objects.get()
    assert answer.status_code == 201
    assert shown["urls"].pop("stream").startswith(f"http://testserver/v1/files/{generation.id}/events?signature=")
    assert shown == {
        "id": str(generation.id),
        "model": "lockngen/sketch",
        "version": VERSION,
        "status": "starting",
        "input": {
            "prompt": "a cat", "negative_prompt": "dogs", "width": 64, "height": 128, "seed": 7, "num_outputs": 1,
            "num_inference_steps": 5, "guidance_scale": 2.0,
        },
        "output": None,
        "error": None,
        "logs": "",
        "metrics": {},
        "data_removed": False,
        "source": "api",
        "created_at": shown["created_at"],
        "started_at": None,
        "completed_at": None,
        "urls": {
            "get": f"http://testserver/v1/predictions/{generation.id}",
            "cancel": f"http://testserver/v1/predictions/{generation.id}/cancel",
            "web": f"http://testserver/admin/generations/generation/{generation.id}/change/",
        },
    }  # fmt: skip
    assert shown["created_at"].endswith("Z")
    assert (generation.api_key, generation.model, generation.steps) == (key, "sketch", 5)


@pytest.mark.parametrize(
    ("input", "stored"),
    [
        ({"steps": 9, "guidance": 3}, {"steps": 9, "guidance": 3}),
        ({"num_inference_steps": 4, "guidance_scale": 0}, {"steps": 4, "guidance": 0}),
        ({"output_format": "jpg", "output_quality": 90}, {"output_format": "jpeg", "quality": 90}),
        ({"output_format": "webp", "output_quality": 0}, {"output_format": "webp", "quality": 1}),
        ({"output_format": "png", "output_quality": 80}, {"output_format": "png", "quality": None}),
        ({"output_quality": 80}, {"output_format": None, "quality": None}),
        ({"aspect_ratio": "16:9"}, {"width": 680, "height": 384}),
        ({"aspect_ratio": "1:1"}, {"width": 512, "height": 512}),
        ({"aspect_ratio": "1:99"}, {"width": 64, "height": 2048}),
        ({"aspect_ratio": "16:9", "width": 64}, {"width": 64, "height": 512}),
        ({"aspect_ratio": "match_input_image"}, {"width": 512, "height": 512}),
        ({"go_fast": True, "megapixels": "1", "image": [1], "seed": None, "width": None}, {"seed": None, "width": 512}),
    ],
)
def test_input__becomes_parameters(api, input, stored):
    generation = created(api, **input)

    assert {name: getattr(generation, name) for name in stored} == stored


@pytest.mark.parametrize(
    ("input", "field"),
    [
        ({"prompt": None}, "input.prompt"),
        ({"prompt": " "}, "input.prompt"),
        ({"width": 65}, "input.width"),
        ({"num_outputs": 11}, "input.num_outputs"),
        ({"num_inference_steps": 0}, "input.num_inference_steps"),
        ({"guidance_scale": "high"}, "input.guidance_scale"),
        ({"output_format": "gif"}, "input.output_format"),
        ({"output_quality": 101}, "input.output_quality"),
        ({"seed": -1}, "input.seed"),
    ],
)
def test_input__that_is_invalid_names_its_field(api, input, field):
    error = assert_error(create(api, **input), 422, "Unprocessable Entity", field)

    assert [each["field"] for each in error["invalid_fields"]] == [field]
    assert not Generation.objects.exists()


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"input": 1}', '{"input": []}', '{"input": null}', "{", b"\xff"])
def test_body__that_is_no_prediction_is_refused(api, body):
    answer = send(api, PREDICTIONS, body)

    assert_error(answer, answer.status_code, {400: "Bad Request", 422: "Unprocessable Entity"}[answer.status_code])


def test_create__refuses_a_deadline(api):
    assert_error(create(api, headers={"Cancel-After": "1m"}), 422, "Unprocessable Entity", "Cancel-After")


@pytest.mark.parametrize("limit", ["WEB_WAITING", "WEB_WAITING_PER_KEY"])
def test_create__does_not_wait_beyond_the_limit_of_waits(api, settings, limit):
    setattr(settings, limit, 0)

    answer = create(api, headers={"Prefer": "wait=30"})

    assert (answer.status_code, answer.json()["status"]) == (201, "starting")
    assert "Preference-Applied" not in answer


def test_create__of_several_outputs_is_one_prediction(api):
    shown = create(api, num_outputs=3, seed=5).json()

    assert shown["id"] == str(Generation.objects.order_by("id").first().id)
    assert (shown["input"]["num_outputs"], shown["input"]["seed"]) == (3, 5)
    assert sorted(Generation.objects.values_list("seed", flat=True)) == [5, 6, 7]
    assert [each["id"] for each in api.get(PREDICTIONS).json()["results"]] == [shown["id"]]


def test_create__is_repeated_by_its_key_and_by_a_client_library(api):
    first = create(api, headers={"Idempotency-Key": "a"})
    again = create(api, headers={"Idempotency-Key": "a"})
    library = [create(api, seed=1, headers={"X-Stainless-Retry-Count": count}) for count in "01"]

    assert (first.json()["id"], again["Idempotent-Replayed"]) == (again.json()["id"], "true")
    assert library[0].json()["id"] == library[1].json()["id"]
    assert Generation.objects.count() == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
INPUTS = st.fixed_dictionaries({}, optional=dict.fromkeys((*Input.model_fields, "num_outputs", "guidance_scale"), JSON))
BODIES = st.fixed_dictionaries(
    {"input": INPUTS | JSON}, optional=dict.fromkeys(("version", "webhook", "webhook_events_filter"), JSON)
)


def test_any_body__is_answered_by_a_prediction_or_an_error(client_of, make_key):
    api = client_of(make_key(rate_limit=0))

    @settings(max_examples=150, deadline=None)
    @given(path=st.sampled_from([PREDICTIONS, OF_MODEL]), body=BODIES | JSON)
    def check(path, body):
        answer = send(api, path, json.dumps(body))
        assert answer.status_code in (201, 400, 422), answer.content

    check()


def test_full_queue__is_a_429(client_of, make_key):
    full = client_of(make_key(max_pending=1))
    assert create(full).status_code == 201

    assert_error(create(full), 429, "Too Many Requests", "quota")
