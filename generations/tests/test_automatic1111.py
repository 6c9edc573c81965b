"""AUTOMATIC1111's API, through a real web process; the images are rendered in this process."""

import json
import threading
from base64 import b64decode, b64encode
from http.client import HTTPConnection
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from generations.dialects.automatic1111.chosen_model import ChosenModel
from generations.dialects.automatic1111.operations import STATIC
from generations.dialects.automatic1111.txt2img import KNOWN
from generations.images import infotext
from generations.models import Generation
from generations.progress.reports import Report
from generations.status import Status
from generations.tests.support.quick_web import quick_web
from lockngen.tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64}


@pytest.fixture(scope="module")
def web(django_db_setup, django_db_blocker, tmp_path_factory):
    with quick_web(django_db_blocker, tmp_path_factory.mktemp("automatic1111")) as web:
        yield web


@pytest.fixture(autouse=True)
def image_folder(settings, web):
    settings.MEDIA_ROOT = web.images


class Call(threading.Thread):
    """A call in a thread of its own, with HTTP Basic."""

    def __init__(self, web, method: str, path: str, body=None, **headers: str):
        super().__init__(daemon=True)
        self.connection = HTTPConnection("127.0.0.1", web.port, timeout=20)
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        self.connection.request(method, f"/sdapi/v1/{path}", text, headers)
        self.start()

    def run(self) -> None:
        self.response = self.connection.getresponse()
        self.status, content = self.response.status, self.response.read()
        self.content = json.loads(content) if content else None
        self.connection.close()

    def result(self) -> "Call":
        self.join(20)
        return self


@pytest.fixture
def caller_of(web):
    def make(key):
        basic = b64encode(f"any name:{key.token}".encode()).decode()
        return lambda *arguments, **headers: Call(web, *arguments, **{"Authorization": f"Basic {basic}", **headers})

    return make


@pytest.fixture
def call(caller_of, key):
    return caller_of(key)


@pytest.fixture
def get(call):
    return lambda path: call("GET", path).result().content


def created(count: int = 1) -> list[Generation]:
    """The generations of a call, once they are stored."""
    return wait_until(lambda: len(found := list(Generation.objects.order_by("id"))) >= count and found)


@pytest.fixture
def txt2img(call, run):
    """The result of a call whose images are rendered."""

    def do(body: dict, count: int = 1) -> Call:
        waiting = call("POST", "txt2img", body)
        for generation in created(count):
            run(generation)
        return waiting.result()

    return do


def opened(image: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(image)))


def test_txt2img__returns_the_image_and_its_facts(txt2img):
    answer = txt2img({**SMALL, "negative_prompt": "fog", "seed": 5, "steps": 20, "cfg_scale": 4.5})

    assert (answer.status, answer.response.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    (generation,) = created()
    (image,) = answer.content["images"]
    info = json.loads(answer.content["info"])
    facts = "Steps: 20, Sampler: Automatic, CFG scale: 4.5, Seed: 5, Size: 64x64, Model: sketch"
    text = f"a lighthouse\nNegative prompt: fog\n{facts}"
    assert (opened(image).format, opened(image).size, opened(image).info["parameters"]) == ("PNG", (64, 64), text)
    assert info["infotexts"] == [text] == [infotext.of(generation)]
    assert (info["seed"], info["all_seeds"], info["width"], info["height"]) == (5, [5], 64, 64)
    assert (info["prompt"], info["all_prompts"], info["sd_model_name"]) == ("a lighthouse", ["a lighthouse"], "sketch")
    assert answer.content["parameters"] == {
        "prompt": "a lighthouse",
        "negative_prompt": "fog",
        "seed": 5,
        "width": 64,
        "height": 64,
        "steps": 20,
        "cfg_scale": 4.5,
        "batch_size": 1,
        "n_iter": 1,
        "sampler_name": "Automatic",
        "scheduler": None,
        "override_settings": {},
        "send_images": True,
    }


@pytest.mark.parametrize("seed", [-1, "-1", None, ""])
def test_random_seed__is_drawn_and_returned(txt2img, seed):
    answer = txt2img({**SMALL, "seed": seed})

    info = json.loads(answer.content["info"])
    assert info["seed"] == created()[0].seed >= 0
    assert answer.content["parameters"]["seed"] == -1


def test_batches__are_images_with_seeds_that_follow_each_other(txt2img):
    answer = txt2img({**SMALL, "batch_size": 2, "n_iter": 2, "seed": 7}, 4)

    info = json.loads(answer.content["info"])
    assert len(answer.content["images"]) == len(set(answer.content["images"])) == 4
    assert (info["seed"], info["all_seeds"], len(info["infotexts"])) == (7, [7, 8, 9, 10], 4)


def test_numbers_as_text_and_unknown_fields__are_accepted(txt2img):
    body = {**SMALL, "width": "64", "height": 64.0, "steps": "3", "cfg_scale": "2", "alwayson_scripts": {"x": {}}}

    answer = txt2img({**body, **{f"unknown{number}": [] for number in range(100)}})

    assert answer.status == 200
    assert (created()[0].steps, created()[0].guidance) == (3, 2)


def test_size__is_rounded_down_to_a_multiple_of_8(txt2img):
    answer = txt2img({**SMALL, "width": 79, "height": 100})

    info = json.loads(answer.content["info"])
    assert opened(answer.content["images"][0]).size == (info["width"], info["height"]) == (72, 96)


def test_sampler_and_scheduler__are_accepted_and_echoed(txt2img):
    answer = txt2img({**SMALL, "sampler_name": "DPM++ 2M", "scheduler": "Karras"})

    assert answer.content["parameters"]["sampler_name"] == "DPM++ 2M"
    assert answer.content["parameters"]["scheduler"] == "Karras"
    assert json.loads(answer.content["info"])["sampler_name"] == "DPM++ 2M"


@pytest.mark.parametrize(("fields", "kind"), [({"output_format": "jpeg", "quality": 50}, "JPEG"), ({}, "PNG")])
def test_format__can_be_requested(txt2img, fields, kind):
    assert opened(txt2img({**SMALL, **fields}).content["images"][0]).format == kind


def test_metadata__can_be_left_out(txt2img):
    assert opened(txt2img({**SMALL, "keep_metadata": False}).content["images"][0]).info == {}


def test_send_images_off__returns_no_images(txt2img):
    answer = txt2img({**SMALL, "send_images": False, "save_images": False})

    assert (answer.status, answer.content["images"]) == (200, [])
    assert created()[0].status == Status.COMPLETED
    assert not created()[0].is_deleted


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
    answer = call("POST", "txt2img", {**SMALL, **fields}).result()

    assert answer.status == 422
    (error,) = answer.content["detail"]
    assert error["loc"] in (["body", field], ["body", "body"] if field == "body" else [])
    assert words in error["msg"]
    assert not Generation.objects.exists()


def test_model__of_the_call_is_used(txt2img):
    assert txt2img({**SMALL, "override_settings": {"sd_model_checkpoint": "sketch", "sd_vae": None}}).status == 200
    assert created()[0].model == "sketch"


def test_alias__stands_for_its_model(txt2img):
    assert txt2img({**SMALL, "override_settings": {"sd_model_checkpoint": "dall-e-2"}}).status == 200


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
        assert json.loads(answer.content)["detail"]


def test_option_model__is_of_the_key_that_set_it(call, caller_of, make_key, get):
    other = caller_of(make_key())
    before = get("options")
    assert before["sd_model_checkpoint"] == "sketch"

    answer = call("POST", "options", {**before, "sd_model_checkpoint": "dall-e-2", "unknown": 1}).result()

    assert (answer.status, answer.content) == (200, None)
    assert get("options")["sd_model_checkpoint"] == "dall-e-2"
    assert other("GET", "options").result().content["sd_model_checkpoint"] == "sketch"


def test_option_model__is_used_by_calls_that_name_none(call, key):
    """One that has been removed since is reported; it isn't replaced silently."""
    ChosenModel.choose(key, "removed")

    answer = call("POST", "txt2img", SMALL).result()
    named = call("POST", "txt2img", {**SMALL, "override_settings": {"sd_model_checkpoint": "sketch"}, "steps": 0})

    assert "it is unknown; valid models: default, sketch" in answer.content["detail"][0]["msg"]
    assert named.result().content["detail"][0]["loc"] == ["body", "steps"]


def test_option_model__stays_after_the_key_was_replaced(caller_of, key, make_key):
    ChosenModel.choose(key, "dall-e-2")
    replacement = make_key(rotated_from=key)

    assert caller_of(replacement)("GET", "options").result().content["sd_model_checkpoint"] == "dall-e-2"


def test_option_model__without_a_value_is_the_default_again(call, key, get):
    ChosenModel.choose(key, "dall-e-2")

    assert call("POST", "options", {"sd_model_checkpoint": ""}).result().status == 200
    assert get("options")["sd_model_checkpoint"] == "sketch"


def test_unknown_option_model__is_refused(call, get):
    answer = call("POST", "options", {"sd_model_checkpoint": "sd-99"}).result()

    assert answer.status == 422
    assert answer.content["detail"][0]["loc"] == ["body", "sd_model_checkpoint"]
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


def test_progress__shows_the_running_call_of_the_key(call, get, caller_of, make_key):
    waiting = call("POST", "txt2img", {**SMALL, "n_iter": 2})
    first, second = created(2)
    get("progress")  # the process starts to listen
    first.complete(first.start(), "a.png")
    attempt = second.start()

    def shown() -> dict | None:
        second.publish(Report(attempt, 50, 10, 20))
        shown = get("progress")
        return shown if shown["state"]["sampling_step"] else None

    shown = wait_until(shown)

    assert shown["progress"] == 0.75
    assert 0 < shown["eta_relative"] < 20
    state = shown["state"]
    assert (state["job"], state["job_count"], state["job_no"]) == (str(second.id), 2, 1)
    assert (state["sampling_step"], state["sampling_steps"], state["interrupted"]) == (10, 20, False)
    assert caller_of(make_key())("GET", "progress").result().content["state"]["job_count"] == 0
    second.cancel()
    waiting.result()


def test_progress__is_not_counted_by_the_rate_limit(caller_of, make_key):
    call = caller_of(make_key(rate_limit=1))
    assert call("GET", "sd-models").result().status == 200
    assert call("GET", "sd-models").result().status == 429

    assert call("GET", "progress").result().status == 200


def test_interrupt__ends_the_calls_of_the_key_and_nothing_else(call, caller_of, make_key, api, make_generation):
    native = make_generation()
    other_key = make_key()
    other = caller_of(other_key)("POST", "txt2img", SMALL)
    wait_until(lambda: Generation.objects.filter(api_key=other_key).exists())
    waiting = [call("POST", "txt2img", SMALL) for _ in range(2)]
    wait_until(lambda: Generation.objects.count() == 4)

    answer = call("POST", "interrupt").result()

    assert (answer.status, answer.content) == (200, {})
    assert [each.result().status for each in waiting] == [409, 409]
    assert waiting[0].content["detail"] == "The call was interrupted."
    assert Generation.objects.get(pk=native.pk).status == Status.PENDING
    foreign = Generation.objects.get(api_key=other_key)
    assert foreign.status == Status.PENDING
    foreign.cancel()
    other.result()


def test_interrupted_call__returns_the_images_that_it_has(call, run):
    waiting = call("POST", "txt2img", {**SMALL, "n_iter": 3})
    run(created(3)[0])

    call("POST", "interrupt").result()

    assert waiting.result().status == 200
    assert len(waiting.content["images"]) == len(json.loads(waiting.content["info"])["all_seeds"]) == 1


def test_failed_generation__is_an_error_with_its_reason(call):
    waiting = call("POST", "txt2img", SMALL)
    (generation,) = created()

    generation.fail(generation.start(), "No such sampler.")

    assert waiting.result().status == 500
    reason = "The image could not be made: No such sampler."
    assert waiting.content == {"error": "Internal Server Error", "detail": reason, "body": "", "errors": reason}


def test_deleted_generation__is_an_interrupted_one(call):
    waiting = call("POST", "txt2img", SMALL)
    created()[0].delete()

    assert waiting.result().status == 409


def test_wait__ends_with_a_reference_to_the_history(call):
    waiting = call("POST", "txt2img", SMALL).result()

    assert waiting.status == 504
    assert f"GET /api/v1/generations/{created()[0].pk}" in waiting.content["detail"]
    assert created()[0].status == Status.PENDING


def test_wait__ends_with_its_key(call, key):
    waiting = call("POST", "txt2img", SMALL)
    created()

    key.revoke()

    assert waiting.result().status == 401
    assert waiting.response.headers["WWW-Authenticate"].startswith("Basic")


def test_missing_file__is_reported(call):
    waiting = call("POST", "txt2img", SMALL)
    (generation,) = created()

    generation.complete(generation.start(), "gone.png")

    assert (waiting.result().status, waiting.content["detail"]) == (404, "The image is missing from the storage.")


@pytest.mark.parametrize("header", ["", "Basic", "Basic ????", "Basic eDp5", "Bearer lg_live_x", "Digest x"])
def test_bad_credentials__are_refused(call, header):
    answer = call("GET", "options", Authorization=header).result()

    assert answer.status == 401
    assert answer.response.headers["WWW-Authenticate"] == 'Basic realm="LockN Gen"'
    assert answer.content["detail"].startswith("A valid API key is needed: send it as the password of HTTP Basic")
    assert set(answer.content) == {"error", "detail", "body", "errors"}


def test_bearer_token__is_accepted(call, key):
    assert call("GET", "options", Authorization=f"Bearer {key.token}").result().status == 200


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
    answer = call(method, path, body).result()

    assert answer.status == status
    assert answer.response.headers["Content-Type"].startswith("application/json")
    assert set(answer.content) == {"error", "detail", "body", "errors"}
    assert answer.content["detail"] == answer.content["errors"] != ""


def test_limits__have_the_shape_of_the_errors(caller_of, make_key, make_generation):
    key = make_key(max_pending=1)
    make_generation(api_key=key)

    answer = caller_of(key)("POST", "txt2img", SMALL).result()

    assert (answer.status, answer.response.headers["Retry-After"]) == (429, "5")
    assert "quota of 1 unfinished generations" in answer.content["detail"]


def test_body_of_another_type__is_named(call):
    answer = call("POST", "txt2img", "[1]").result()

    assert answer.status == 422
    assert answer.content["detail"][0]["loc"] == ["body", "body"]


def test_key_in_the_body__is_not_repeated(txt2img, key):
    """SillyTavern sends its settings along, with the key among them."""
    answer = txt2img({**SMALL, "url": "http://localhost", "auth": f"any name:{key.token}"})

    assert key.token not in json.dumps(answer.content)


def test_repeated_call__has_one_image(call, run):
    waiting = [call("POST", "txt2img", SMALL, **{"Idempotency-Key": "order-4711"}) for _ in range(2)]
    run(created()[0])

    images = [each.result().content["images"] for each in waiting]

    assert images[0] == images[1] != []
    assert Generation.objects.count() == 1
    assert {each.response.headers["Idempotent-Replayed"] for each in waiting} == {None, "true"}


def test_key__that_has_chosen_a_model_can_be_removed(key):
    ChosenModel.choose(key, "sketch")

    key.hard_delete()

    assert not ChosenModel.objects.exists()
