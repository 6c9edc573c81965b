"""OpenAI's HTTP API, without its SDKs: fields, errors and models."""

import json

import pytest
from django.core.checks import run_checks
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from generations.dialects import models
from generations.dialects import openai as dialect
from generations.models import Generation
from generations.renderers.pool import RendererPool
from generations.tests.support.calls import URL as NATIVE
from generations.tests.support.openai_dialect import URL, assert_error, post
from lockngen.database.breaker import breaker

NULLABLE = ("model", "n", "size", "width", "steps", "cfg", "output_compression", "stream", "response_format", "user")
IGNORED = (
    *("quality", "style", "background", "moderation", "user", "safety_identifier", "sampler", "quality_level"),
    *("image", "mask", "metadata", "extra_body", "webhook", "webhook_events_filter"),
)

pytestmark = pytest.mark.django_db(transaction=True)


def created(api, **fields) -> Generation:
    """The generation of a call, whose response the test client doesn't wait for."""
    answer = post(api, **fields)
    assert answer.status_code == 200, answer.content
    return Generation.objects.latest("id")


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


@pytest.mark.parametrize("value", ["auto", 7, {"a": [1]}, True])
def test_unknown_fields__are_ignored(api, value):
    assert created(api, **dict.fromkeys(IGNORED, value)).quality is None


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
def test_invalid_field__is_named(api, body, param):
    answer = post(api, **body)

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


def test_unknown_model__is_refused_with_the_valid_ones(api):
    answer = post(api, model="sd-99")

    assert_error(answer, 400, param="model", code="model_not_found", words="default, sketch")


def test_error_of_another_api__keeps_its_format(api):
    for path in (f"{NATIVE}/x", "/v1/predictions/x", "/v1/models/a/b"):
        assert api.get(path).headers["Content-Type"] == "application/problem+json"


def test_used_up_limit__may_be_retried(client_of, make_key):
    api = client_of(make_key(rate_limit=1))

    first, second = (api.get("/v1/models") for _ in range(2))

    assert first.status_code == 200
    assert_error(second, 429, code="rate_limit_exceeded")
    assert 1 <= int(second.headers["Retry-After"]) <= 60
    assert "X-Should-Retry" not in second.headers


def test_used_up_quota__may_be_retried(client_of, make_key):
    answer = post(client_of(make_key(max_pending=1)), n=2)

    assert_error(answer, 429, code="queue_full")
    assert "X-Should-Retry" not in answer.headers
    assert not Generation.objects.exists()


def test_outage__may_be_retried(client, monkeypatch):
    monkeypatch.setattr(type(breaker), "is_open", True)

    answer = client.get("/v1/models")

    assert_error(answer, 503)
    assert not answer.has_header("X-Should-Retry")


def test_unexpected_error__has_the_envelope(api, monkeypatch):
    monkeypatch.setattr(models, "available", lambda: 1 / 0)

    answer = api.get("/v1/models")

    assert_error(answer, 500, words="internal error")


def test_idempotency_key__with_another_body_is_refused(api):
    headers = {"Idempotency-Key": "a"}
    api.post(URL, {"prompt": "a cat"}, content_type="application/json", headers=headers)

    answer = api.post(URL, {"prompt": "a dog"}, content_type="application/json", headers=headers)

    assert_error(answer, 422, code="idempotency_key_reused")


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


def test_options__without_cors_is_refused(api):
    assert_error(api.options(URL), 405)


def test_base_url_without_v1__is_an_error_with_the_remedy(api):
    answer = api.post("/images/generations", {"prompt": "x"}, content_type="application/json")

    assert_error(answer, 404, words="add it to the client's base URL")
