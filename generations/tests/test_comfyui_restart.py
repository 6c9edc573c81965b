"""A whole LockN Gen with a double of ComfyUI, both as processes that are killed and started again."""

import json
import time
from io import BytesIO

import pytest
from PIL import Image

from lockngen.tests.conftest import URL, Dev
from lockngen.tests.support.embedded_servers import open_folder


@pytest.fixture(scope="module")
def lockn_gen(double_process):
    with open_folder() as folder:
        dev = Dev(
            folder / "data",
            RENDERER_URL=double_process.url,
            DEFAULT_WORKFLOW="blank",
            RENDER_GRACE="0",
            WEB_WORKERS="1",
        )
        yield dev
        if dev.process.poll() is None:
            dev.stop()


def size(dev: Dev, generation: dict) -> tuple[int, int]:
    with Image.open(BytesIO(dev.ask(f"{URL}/{generation['id']}/image"))) as image:
        image.load()
        return image.size


def show(dev: Dev, generation: dict) -> dict:
    return json.loads(dev.ask(f"{URL}/{generation['id']}"))


def test_server_killed_twice__everything_is_completed_with_its_picture(lockn_gen, double):
    double.set(seconds=0.3)
    created = [lockn_gen.create(width=64 + 8 * number, height=64) for number in range(12)]

    for _ in range(2):
        double.wait_for(lambda double: double.queue()[0])
        double.kill()
        time.sleep(0.3)
        double.start()

    ended = [lockn_gen.wait_for(generation["id"], "completed", "failed", seconds=60) for generation in created]
    assert [(generation["status"], generation["error"]) for generation in ended] == [("completed", None)] * 12
    assert [size(lockn_gen, generation) for generation in ended] == [(64 + 8 * number, 64) for number in range(12)]


@pytest.mark.faults
def test_poison__fails_after_its_tries_and_the_others_are_completed(lockn_gen, double):
    double.set(seconds=0.2, error="crash", only='"width": 200')
    poison, *others = [lockn_gen.create(width=width, height=64) for width in (200, 64, 72, 80, 88)]
    deaths = 0

    while show(lockn_gen, poison)["status"] not in ("completed", "failed"):
        if not double.is_running():
            deaths += 1
            double.start()
        time.sleep(0.05)

    # RENDER_MAX_ATTEMPTS, and once more where the server was gone before anybody could see that the prompt had begun.
    assert 3 <= deaths <= 4
    assert show(lockn_gen, poison)["error"] == (
        "Rendering was tried 3 times without success. The renderer was restarted and forgot the picture."
    )
    for other in others:
        lockn_gen.wait_for(other["id"], "completed")


def test_stopped_worker__leaves_its_prompt_to_the_next(lockn_gen, double):
    double.set(seconds=10)
    generation = lockn_gen.create(width=64, height=64)
    double.wait_for(lambda double: double.queue()[0] == [generation["id"]])

    assert lockn_gen.stop() == 0

    assert double.queue()[0] == [generation["id"]]
    assert lockn_gen.count("generations_generation WHERE status = 0 AND attempts = releases") == 1
