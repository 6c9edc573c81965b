"""Clients of AUTOMATIC1111 against a whole LockN Gen: the library webuiapi, and the requests that others send."""

import json
import subprocess
import sys
import warnings
from base64 import b64decode
from io import BytesIO
from threading import Thread

import httpx
import pytest
import webuiapi
from PIL import Image

from lockngen.tests.support.snippets import snippet
from lockngen.tests.support.waiting import wait_until

SMALL = {"width": 64, "height": 64}
# Of SillyTavern's settings: its own size is 512x512, and the upscaler and the sampler are its defaults.
SILLYTAVERN = {
    "url": "http://127.0.0.1:8000",
    "prompt": "best quality, absurdres, aesthetic, a lighthouse",
    "negative_prompt": "lowres, bad anatomy, bad hands",
    "sampler_name": "DDIM",
    "scheduler": "normal",
    "steps": 20,
    "cfg_scale": 7,
    **SMALL,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 2,
    "hr_additional_modules": [],
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}


@pytest.fixture
def client(dev) -> webuiapi.WebUIApi:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = webuiapi.WebUIApi(host="127.0.0.1", port=dev.port)
        api.set_auth("any name", dev.token)
        yield api
        api.session.close()


@pytest.fixture
def http(dev) -> httpx.Client:
    """With a key in the address, as LibreChat's has it."""
    with httpx.Client(base_url=f"http://user:{dev.token}@127.0.0.1:{dev.port}/sdapi/v1/", timeout=30) as http:
        yield http


def opened(image: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(image)))


def test_webuiapi__makes_images(client):
    made = client.txt2img(prompt="a lighthouse", negative_prompt="fog", seed=5, batch_size=2, n_iter=2, **SMALL)

    assert [image.size for image in made.images] == [(64, 64)] * 4
    assert made.info["all_seeds"] == [5, 6, 7, 8]
    assert made.info["infotexts"][0].startswith("a lighthouse\nNegative prompt: fog\nSteps: ")
    assert made.image.info["parameters"] == made.info["infotexts"][0]


def test_webuiapi__reads_every_list(client):
    assert client.util_get_model_names() == ["sketch"]
    assert (client.util_get_sampler_names(), client.util_get_scheduler_names()) == (["Automatic"], ["automatic"])
    lists = ("sd_vae", "loras", "hypernetworks", "face_restorers", "realesrgan_models", "prompt_styles")
    assert [getattr(client, f"get_{name}")() for name in lists] == [[]] * len(lists)
    assert client.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert client.get_scripts() == {"txt2img": [], "img2img": []}
    assert (client.get_memory(), client.get_cmd_flags()) == ({"ram": {}, "cuda": {}}, {})


def test_webuiapi__chooses_a_model(client):
    client.util_set_model("sketch")

    assert client.util_get_current_model() == "sketch"


def test_webuiapi__reads_progress_and_interrupts(client, http):
    assert client.get_progress()["progress"] == 0
    made = []
    call = Thread(
        target=lambda: made.append(http.post("txt2img", json={"prompt": "a lighthouse", "n_iter": 9, **SMALL}))
    )
    call.start()
    running = wait_until(lambda: (shown := client.get_progress())["state"]["job_no"] and shown)

    client.interrupt()
    call.join(20)

    assert 0 < running["progress"] < 1
    assert (running["state"]["job_count"], running["current_image"]) == (9, None)
    assert 1 <= len(made[0].json()["images"]) < 9
    assert client.get_progress()["state"]["job_count"] == 0


def test_webuiapi__reports_an_invalid_field(client):
    with pytest.raises(RuntimeError, match=r"422.*width.*greater than or equal to 64"):
        client.txt2img(prompt="a lighthouse", width=8)


@pytest.mark.parametrize(("language", "program"), [("sh", ["sh", "-c"]), ("python", [sys.executable, "-c"])])
def test_example__writes_the_image(dev, tmp_path, language, program):
    code = snippet("AUTOMATIC1111", language, dev.port, dev.token)

    subprocess.run([*program, code], cwd=tmp_path, check=True, timeout=60)

    with Image.open(tmp_path / "lighthouse.png") as image:
        assert image.size == (768, 512)


def test_sillytavern__connects_and_makes_an_image(http, dev):
    """It pings, reads the lists for its settings, chooses a model, and then makes images."""
    assert http.get("options").status_code == 200
    names = {name: [each["name"] for each in http.get(name).json()] for name in ("samplers", "schedulers", "upscalers")}
    assert names == {"samplers": ["Automatic"], "schedulers": ["automatic"], "upscalers": ["None"]}
    assert http.get("latent-upscale-modes").json() == http.get("sd-vae").json() == http.get("sd-modules").json() == []
    title = http.get("sd-models").json()[0]["title"]
    assert http.post("options", json={"sd_model_checkpoint": title}).status_code == 200
    progress = http.get("progress").json()
    assert (progress["progress"], progress["state"]["job_count"]) == (0, 0)  # or it would wait for the model to load

    made = http.post("txt2img", json={**SILLYTAVERN, "auth": f"user:{dev.token}"})

    assert made.status_code == 200
    assert opened(made.json()["images"][0]).size == (64, 64)
    assert dev.token not in made.text


def test_open_webui__chooses_the_model_and_makes_images(http):
    """It sends back all options that it has read, and never names the model in txt2img."""
    models = [{"id": model["title"], "name": model["model_name"]} for model in http.get("sd-models").json()]
    assert models == [{"id": "sketch", "name": "sketch"}]
    for chosen in ("dall-e-3", ""):  # a model of its openai engine, and none
        options = http.get("options").json()
        assert options["sd_model_checkpoint"] != chosen
        assert http.post("options", json={**options, "sd_model_checkpoint": chosen}).is_success

    body = {"prompt": "a lighthouse", "batch_size": 2, **SMALL, "steps": 50, "negative_prompt": "fog"}
    made = http.post("txt2img", json=body).json()

    assert [opened(image).size for image in made["images"]] == [(64, 64)] * 2
    assert isinstance(made["info"], str)


def test_librechat__makes_an_image_and_reads_its_parameters(http):
    body = {"prompt": "a lighthouse", "negative_prompt": "fog", "cfg_scale": 4.5, "steps": 22}

    made = http.post("txt2img", json={**body, "width": 1024, "height": 1024}).json()

    info = json.loads(made["info"])
    assert opened(made["images"][0].split(",", 1)[0]).size == (info["width"], info["height"]) == (1024, 1024)
    facts = info["infotexts"][0].split("\n").pop()
    assert (
        facts == f"Steps: 22, Sampler: Automatic, CFG scale: 4.5, Seed: {info['seed']}, Size: 1024x1024, Model: sketch"
    )


def test_images__are_in_the_history_of_the_key(http, dev):
    http.post("txt2img", json={"prompt": "a harbour", **SMALL})

    newest = dev.newest()[0]
    assert (newest["prompt"], newest["status"], newest["output_format"]) == ("a harbour", "completed", "png")
    assert newest["labels"] == {"interface": "automatic1111"}
