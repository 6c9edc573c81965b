"""Images as requested, from the call to the file: IMAGE_METADATA, `keep_metadata`, `output_format` and `quality`."""

import json
import os
from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image

from generations.images import infotext
from generations.models import Generation
from generations.status import Status
from generations.tests.support.calls import URL, post
from generations.tests.support.encoded import PNG, encoded
from generations.tests.test_metadata import comment, with_everything
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.processes import WORKER, Process

pytestmark = pytest.mark.django_db(transaction=True)


def image_of(generation: Generation, folder) -> bytes:
    return (folder / generation.image_path).read_bytes()


@pytest.mark.parametrize(
    ("setting", "call", "is_kept"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_metadata__is_kept_by_setting_and_by_call(
    make_generation, run, render_with, image_folder, settings, setting, call, is_kept
):
    settings.IMAGE_METADATA = setting
    image = with_everything("PNG")
    render_with(lambda request, progress: image)
    generation = make_generation(keep_metadata=call)

    run(generation)

    assert (image_of(generation, image_folder) == image) == is_kept
    assert (b"workflow" in image_of(generation, image_folder)) == is_kept


def test_facts__are_of_the_stored_image(make_generation, run, render_with, image_folder):
    render_with(lambda request, progress: with_everything("JPEG", 6))
    generation = make_generation(output_format="webp", quality=40, seed=3, model="sketch")

    run(generation)

    image = image_of(generation, image_folder)
    assert generation.image_path.endswith(".webp")
    assert (generation.image_type, generation.image_bytes) == ("image/webp", len(image))
    assert (generation.image_width, generation.image_height) == Image.open(BytesIO(image)).size == (64, 72)
    assert generation.image_sha256 == sha256(image).hexdigest()
    assert comment(image) == infotext.of(generation)


def test_conversion_that_is_not_possible__fails_the_generation(make_generation, run, render_with):
    render_with(lambda request, progress: encoded("PNG", (16_384, 1)))
    generation = make_generation(output_format="webp")

    run(generation)

    assert generation.status == Status.FAILED
    assert generation.error_message.startswith("The image can't be used: it has 16384 x 1 pixels; a WebP")


def test_cancelled_generation__leaves_no_converted_file(make_generation, run, render_with, stored_files):
    generation = make_generation(output_format="jpeg")
    render_with(lambda request, progress: Generation.objects.get(pk=generation.pk).cancel() and PNG)

    run(generation)

    assert (generation.status, stored_files()) == (Status.CANCELLED, set())


def test_worker__stores_what_was_requested(client_of, make_key, tmp_path, image_folder):
    """Real renders by a real worker."""
    api = client_of(make_key(rate_limit=0))
    size = {"prompt": "a harbour", "negative_prompt": "fog", "width": 64, "height": 64, "seed": 5}
    outputs = [{}, {"output_format": "png"}, {"output_format": "jpeg", "quality": 30}, {"keep_metadata": False}]
    ids = [json.loads(post(api, size | output).content)["id"] for output in outputs]
    worker = make_worker_process(tmp_path, image_folder)
    try:
        shown = [worker.wait_until(lambda id=id: completed(api, id)) for id in ids]
    finally:
        worker.stop()

    assert [each["image"]["type"] for each in shown] == ["image/png", "image/png", "image/jpeg", "image/png"]
    as_rendered, png, jpeg, stripped = (api.get(f"{URL}/{id}/image").getvalue() for id in ids)
    facts = "Steps: 30, Sampler: Automatic, CFG scale: 7, Seed: 5, Size: 64x64, Model: sketch"
    text = f"a harbour\nNegative prompt: fog\n{facts}"
    assert Image.open(BytesIO(as_rendered)).info.keys() >= {"prompt", "seed", "software"}
    assert "parameters" not in Image.open(BytesIO(as_rendered)).info
    assert Image.open(BytesIO(png)).info["parameters"] == comment(jpeg) == text
    assert Image.open(BytesIO(stripped)).info == {}
    assert [each["image"]["sha256"] for each in shown] == [
        sha256(image).hexdigest() for image in (as_rendered, png, jpeg, stripped)
    ]


def make_worker_process(folder, image_folder) -> Process:
    variables = {"DEBUG": "on", "DATABASE_URL": database_url(), "MEDIA_ROOT": str(image_folder)}
    return Process(WORKER, folder / "worker.log", {**os.environ, **variables})


def completed(api, id: str) -> dict | None:
    shown = json.loads(api.get(f"{URL}/{id}").content)
    assert shown["status"] in ("pending", "processing", "completed"), shown
    return shown if shown["status"] == "completed" else None
