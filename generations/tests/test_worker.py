"""What a worker takes on."""

import pytest
from django.core.management import CommandError

from generations.models import Generation
from generations.renderers.base import MAX_MODEL_NAME
from generations.scheduling import queues, worker
from generations.tests.support.comfyui.graphs import make_file


@pytest.fixture(autouse=True)
def follow(monkeypatch):
    """No thread asks the renderers."""
    monkeypatch.setattr(worker, "follow", lambda taken: None)


SKETCH = ["maintenance", "render", "render-sketch"]
COMFYUI = ["maintenance", "render", "render-blank", "render-flux", "render-sdxl"]


@pytest.mark.parametrize(
    ("urls", "taken"),
    [
        (["sketch:"], SKETCH),
        (["comfyui://gpu1", "comfyui://gpu2"], COMFYUI),
        (["sketch:", "comfyui://gpu1"], [*COMFYUI, "render-sketch"]),
    ],
)
def test_worker__takes_what_its_renderers_can_do(settings, urls, taken):
    settings.RENDERER_URL = urls

    assert sorted(worker.options({})["queues"]) == taken


@pytest.mark.parametrize("asked", [["render-sketch"], ["maintenance"], ["render", "maintenance"], None])
def test_worker__takes_what_it_is_reported_to(asked):
    assert worker.options({"queues": asked})["queues"] == asked


def test_worker__refuses_what_none_of_its_renderers_can_do():
    with pytest.raises(CommandError, match=r"^--queues: no renderer here serves 'render-flux'; the queues are "):
        worker.options({"queues": ["render", "render-flux"]})


def test_worker__refuses_a_queue_that_does_not_exist():
    with pytest.raises(CommandError, match="'nope'; the queues are maintenance, render") as error:
        worker.options({"queues": ["nope", "render"]})

    assert error.value.returncode == 2


@pytest.mark.parametrize(
    ("urls", "concurrency"),
    [
        (["sketch:"], 4),
        (["sketch:?concurrency=1"], 1),
        (["comfyui://gpu1"], 2),
        (["comfyui://gpu1?concurrency=1", "comfyui://gpu2"], 3),
        (["comfyui://gpu1", "comfyui://gpu2", "comfyui://gpu3"], 4),
    ],
)
def test_worker__takes_no_more_at_once_than_its_renderers(settings, urls, concurrency):
    settings.RENDERER_URL, settings.WORKER_CONCURRENCY = urls, 4

    assert worker.options({})["concurrency"] == concurrency
    assert worker.options({"concurrency": 1})["concurrency"] == 1


def test_generation__waits_in_the_queue_of_its_model(key, sql):
    for model in ("default", "flux"):
        Generation.objects.submit(api_key=key, prompt="a lighthouse", model=model)

    assert sql("SELECT queue_name FROM procrastinate_jobs ORDER BY id") == [("render",), ("render-flux",)]


def test_queue_of_the_longest_name__is_a_channel_that_postgresql_takes(key, sql, tmp_path, settings):
    name = "m" * MAX_MODEL_NAME
    (tmp_path / f"{name}.json").write_text(make_file())
    settings.RENDERER_URL, settings.WORKFLOWS_DIR = ["comfyui://gpu1"], str(tmp_path)

    Generation.objects.submit(api_key=key, prompt="a lighthouse", model=name)

    assert sql("SELECT queue_name FROM procrastinate_jobs") == [(f"render-{name}",)]
    assert f"render-{name}" in worker.options({})["queues"]


def test_queue__of_a_name_that_can_be_no_model_s_is_that_of_the_default():
    assert queues.of_model("m" * (MAX_MODEL_NAME + 1)) == "render"
