"""AUTOMATIC1111's txt2img with its progress and interrupt, through a real web process; images are rendered here."""

import json
from base64 import b64decode, b64encode
from http.client import HTTPResponse
from io import BytesIO

import pytest
from PIL import Image

from generations.images import infotext
from generations.models import Generation
from generations.progress.reports import Report
from generations.status import Status
from generations.tests.support.waiting_calls import QUICK_WEB, WaitingCall
from lockngen.tests.support.waiting import wait_until

WEB_OPTIONS = QUICK_WEB
SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("images_of_web")]


@pytest.fixture
def caller_of(web):
    def make(key):
        basic = f"Basic {b64encode(f'any name:{key.token}'.encode()).decode()}"

        def call(method: str, path: str, body=None, **headers: str) -> WaitingCall:
            return WaitingCall(web, method, f"/sdapi/v1/{path}", body, Authorization=basic, **headers)

        return call

    return make


@pytest.fixture
def call(caller_of, key):
    return caller_of(key)


def created(count: int = 1) -> list[Generation]:
    """The generations of a call, once they are stored."""
    return wait_until(lambda: len(found := list(Generation.objects.order_by("id"))) >= count and found)


@pytest.fixture
def txt2img(call, run):
    """The result of a call whose images are rendered."""

    def do(body: dict, count: int = 1) -> HTTPResponse:
        waiting = call("POST", "txt2img", body)
        for generation in created(count):
            run(generation)
        return waiting.result()

    return do


def opened(image: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(image)))


def test_txt2img__returns_the_image_and_its_facts(txt2img):
    answer = txt2img({**SMALL, "negative_prompt": "fog", "seed": 5, "steps": 20, "cfg_scale": 4.5})

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
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


def test_model__of_the_call_is_used(txt2img):
    assert txt2img({**SMALL, "override_settings": {"sd_model_checkpoint": "sketch", "sd_vae": None}}).status == 200
    assert created()[0].model == "sketch"


def test_alias__stands_for_its_model(txt2img):
    assert txt2img({**SMALL, "override_settings": {"sd_model_checkpoint": "dall-e-2"}}).status == 200


def test_progress__shows_the_running_call_of_the_key(call, caller_of, make_key):
    waiting = call("POST", "txt2img", {**SMALL, "n_iter": 2})
    first, second = created(2)
    call("GET", "progress").result()  # the process starts to listen
    first.complete(first.start(), "a.png")
    attempt = second.start()

    def shown() -> dict | None:
        second.publish(Report(attempt, 50, 10, 20, preview=1), b"a preview")
        shown = call("GET", "progress").result().content
        return shown if shown["state"]["sampling_step"] else None

    shown = wait_until(shown)

    assert shown["progress"] == 0.75
    assert b64decode(shown["current_image"]) == b"a preview"
    assert call("GET", "progress?skip_current_image=true").result().content["current_image"] is None
    assert 0 < shown["eta_relative"] < 20
    state = shown["state"]
    assert (state["job"], state["job_count"], state["job_no"]) == (str(second.id), 2, 1)
    assert (state["sampling_step"], state["sampling_steps"], state["interrupted"]) == (10, 20, False)
    assert caller_of(make_key())("GET", "progress").result().content["state"]["job_count"] == 0
    second.cancel()
    waiting.result()


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
    assert waiting[0].result().content["detail"] == "The call was interrupted."
    assert Generation.objects.get(pk=native.pk).status == Status.PENDING
    foreign = Generation.objects.get(api_key=other_key)
    assert foreign.status == Status.PENDING
    foreign.cancel()
    other.result()


def test_interrupted_call__returns_the_images_that_it_has(call, run):
    waiting = call("POST", "txt2img", {**SMALL, "n_iter": 3})
    run(created(3)[0])

    call("POST", "interrupt").result()

    answer = waiting.result()
    assert answer.status == 200
    assert len(answer.content["images"]) == len(json.loads(answer.content["info"])["all_seeds"]) == 1


def test_failed_generation__is_an_error_with_its_reason(call):
    waiting = call("POST", "txt2img", SMALL)
    (generation,) = created()

    generation.fail(generation.start(), "No such sampler.")

    answer = waiting.result()
    assert answer.status == 500
    reason = "The image could not be made: No such sampler."
    assert answer.content == {"error": "Internal Server Error", "detail": reason, "body": "", "errors": reason}


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

    answer = waiting.result()
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_missing_file__is_reported(call):
    waiting = call("POST", "txt2img", SMALL)
    (generation,) = created()

    generation.complete(generation.start(), "gone.png")

    answer = waiting.result()
    assert (answer.status, answer.content["detail"]) == (404, "The image is missing from the storage.")


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
    assert {each.result().headers["Idempotent-Replayed"] for each in waiting} == {None, "true"}
