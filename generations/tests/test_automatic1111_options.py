"""AUTOMATIC1111's options, lists and errors."""

import json
from base64 import b64encode

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from generations.dialects.automatic1111.chosen_model import ChosenModel
from generations.dialects.automatic1111.operations import STATIC
from generations.dialects.automatic1111.txt2img import KNOWN
from generations.models import Generation

SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def caller_of():
    def make(key):
        client = Client(headers={"Authorization": f"Basic {b64encode(f'any name:{key.token}'.encode()).decode()}"})

        def call(method: str, path: str, body=None, **headers: str):
            text = body if isinstance(body, str) else json.dumps(body)
            address, type = f"/sdapi/v1/{path}", "application/json"
            return client.generic(method, address, text if body else "", content_type=type, headers=headers)

        return call

    return make


@pytest.fixture
def call(caller_of, key):
    return caller_of(key)


@pytest.fixture
def get(call):
    return lambda path: call("GET", path).json()


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"width": 40}, "width", "greater than or equal to 64"),
        ({"height": 4096}, "height", "less than or equal to 2048"),
        ({"steps": 0}, "steps", "greater than or equal to 1"),
        ({"cfg_scale": "much"}, "cfg_scale", "valid number"),
        ({"seed": -2}, "seed", "greater than or equal to 0"),
        ({"batch_size": 11}, "batch_size", "less than or equal to 10"),
        ({"batch_size": 4, "n_iter": 3}, "body", "batch_size times n_iter must be at most 10"),
        ({"prompt": " "}, "prompt", "blank"),
        ({"prompt": None}, "prompt", "required"),
        ({"override_settings": {"sd_model_checkpoint": "sd-99"}}, "model", "valid models: default, sketch"),
        ({"quality": 50}, "body", "output_format of jpeg or webp"),
    ],
)
def test_invalid_field__is_named_as_fastapi_does(call, fields, field, words):
    answer = call("POST", "txt2img", {**SMALL, **fields})

    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert error["loc"] in (["body", field], ["body", "body"] if field == "body" else [])
    assert words in error["msg"]
    assert not Generation.objects.exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=9), values, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), JSON, max_size=5), st.sampled_from(["txt2img", "options"]))
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body__is_accepted_or_refused(client_of, make_key, fields, path):
    client = client_of(make_key(rate_limit=0))

    answer = client.post(f"/sdapi/v1/{path}", json.dumps({**SMALL, **fields}), content_type="application/json")

    assert answer.status_code in (200, 400, 422)
    if answer.status_code != 200:
        assert answer.json()["detail"]


def test_option_model__is_of_the_key_that_set_it(call, caller_of, make_key, get):
    other = caller_of(make_key())
    before = get("options")
    assert before["sd_model_checkpoint"] == "sketch"

    answer = call("POST", "options", {**before, "sd_model_checkpoint": "dall-e-2", "unknown": 1})

    assert (answer.status_code, answer.json()) == (200, None)
    assert get("options")["sd_model_checkpoint"] == "dall-e-2"
    assert other("GET", "options").json()["sd_model_checkpoint"] == "sketch"


def test_option_model__is_used_by_calls_that_name_none(call, key):
    """One that has been removed since is reported; it isn't replaced silently."""
    ChosenModel.choose(key, "removed")

    answer = call("POST", "txt2img", SMALL)
    named = call("POST", "txt2img", {**SMALL, "override_settings": {"sd_model_checkpoint": "sketch"}, "steps": 0})

    assert "it is unknown; valid models: default, sketch" in answer.json()["detail"][0]["msg"]
    assert named.json()["detail"][0]["loc"] == ["body", "steps"]


def test_option_model__stays_after_the_key_was_replaced(caller_of, key, make_key):
    ChosenModel.choose(key, "dall-e-2")
    replacement = make_key(rotated_from=key)

    assert caller_of(replacement)("GET", "options").json()["sd_model_checkpoint"] == "dall-e-2"


def test_option_model__without_a_value_is_the_default_again(call, key, get):
    ChosenModel.choose(key, "dall-e-2")

    assert call("POST", "options", {"sd_model_checkpoint": ""}).status_code == 200
    assert get("options")["sd_model_checkpoint"] == "sketch"


def test_unknown_option_model__is_refused(call, get):
    answer = call("POST", "options", {"sd_model_checkpoint": "sd-99"})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "sd_model_checkpoint"]
    assert get("options")["sd_model_checkpoint"] == "sketch"


def test_models__have_the_fields_that_clients_read(get):
    assert get("sd-models") == [
        {"title": "sketch", "model_name": "sketch", "hash": None, "sha256": None, "filename": "sketch", "config": None}
    ]


def test_lists__are_served(get):
    assert {name: get(name) for name in STATIC} == STATIC
    assert STATIC["samplers"][0]["name"] == STATIC["schedulers"][0]["label"] == "Automatic"
    assert STATIC["upscalers"][0]["name"] == "None"
    assert STATIC["loras"] == STATIC["sd-vae"] == STATIC["sd-modules"] == STATIC["latent-upscale-modes"] == []


def test_progress__of_an_idle_key_is_zero(get):
    shown = get("progress?skip_current_image=true")

    assert (shown["progress"], shown["eta_relative"], shown["current_image"]) == (0.0, 0.0, None)
    assert (shown["state"]["job_count"], shown["state"]["job_no"], shown["state"]["sampling_step"]) == (0, 0, 0)


def test_progress__is_not_counted_by_the_rate_limit(caller_of, make_key):
    call = caller_of(make_key(rate_limit=1))
    assert call("GET", "sd-models").status_code == 200
    assert call("GET", "sd-models").status_code == 429

    assert call("GET", "progress").status_code == 200


@pytest.mark.parametrize("header", ["", "Basic", "Basic ????", "Basic eDp5", "Bearer lg_live_x", "Digest x"])
def test_bad_credentials__are_refused(call, header):
    answer = call("GET", "options", Authorization=header)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="LockN Gen"'
    assert answer.json()["detail"].startswith("A valid API key is needed: send it as the password of HTTP Basic")
    assert set(answer.json()) == {"error", "detail", "body", "errors"}


def test_bearer_token__is_accepted(call, key):
    assert call("GET", "options", Authorization=f"Bearer {key.token}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", None, 404),
        ("GET", "", None, 404),
        ("GET", "txt2img", None, 405),
        ("POST", "img2img", "{}", 404),
        ("POST", "txt2img", "{", 400),
        ("POST", "txt2img", '{"prompt": "%s"}' % ("x" * 1024 * 1024), 413),
        ("GET", "options?token=lg_live_x", None, 400),
    ],
)
def test_errors__have_one_shape(call, method, path, body, status):
    answer = call(method, path, body)

    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/json")
    assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert answer.json()["detail"] == answer.json()["errors"] != ""


def test_limits__have_the_shape_of_the_errors(caller_of, make_key, make_generation):
    key = make_key(max_pending=1)
    make_generation(api_key=key)

    answer = caller_of(key)("POST", "txt2img", SMALL)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    assert "quota of 1 unfinished generations" in answer.json()["detail"]


def test_body_of_another_type__is_named(call):
    answer = call("POST", "txt2img", "[1]")

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "body"]


def test_key__that_has_chosen_a_model_can_be_removed(key):
    ChosenModel.choose(key, "sketch")

    key.hard_delete()

    assert not ChosenModel.objects.exists()
