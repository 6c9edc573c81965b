"""The queues and the concurrency of a worker."""

import pytest
from django.core.management import CommandError

from generations.models import Generation
from generations.renderers.base import MAX_MODEL_NAME
from generations.scheduling import queues, worker
from generations.tests.support.comfyui.graphs import make_file


@pytest.fixture(autouse=True)
def follow(monkeypatch):
    """No thread queries the renderers."""
    monkeypatch.setattr(worker, "follow", lambda fetched, chosen: None)


SKETCH = ["maintenance", "render", "render-sketch"]
COMFYUI = ["maintenance", "render", "render-blank", "render-flux", "render-sdxl"]


@pytest.mark.parametrize(
    ("urls", "served"),
    [
        (["sketch:"], SKETCH),
        (["comfyui://gpu1", "comfyui://gpu2"], COMFYUI),
        (["sketch:", "comfyui://gpu1"], [*COMFYUI, "render-sketch"]),
    ],
)
def test_worker__serves_the_models_of_its_renderers(settings, urls, served):
    settings.RENDERER_URL = urls

    assert sorted(worker.options({})["queues"]) == served


@pytest.mark.parametrize("given", [["render-sketch"], ["maintenance"], ["render", "maintenance"]])
def test_worker__serves_the_queues_of_its_options(given):
    options = worker.options({"queues": given})

    assert (options["queues"], options["sends_webhooks"]) == (given, False)


@pytest.mark.parametrize("given", [{}, {"queues": None}])
def test_worker__serves_all_its_queues_and_webhooks_by_default(given):
    options = worker.options(given)

    assert (sorted(options["queues"]), options["sends_webhooks"]) == (SKETCH, True)


def test_worker__may_serve_webhooks_alone():
    options = worker.options({"queues": ["webhooks"]})

    assert (options["queues"], options["sends_webhooks"]) == ([], True)


def test_worker__refuses_a_queue_without_a_renderer():
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
def test_concurrency__is_limited_by_the_renderers(settings, urls, concurrency):
    settings.RENDERER_URL, settings.WORKER_CONCURRENCY = urls, 4

    assert worker.options({})["concurrency"] == concurrency
    assert worker.options({"concurrency": 1})["concurrency"] == 1


def test_generation__waits_in_the_queue_of_its_model(key, sql):
    for model in ("default", "flux"):
        Generation.objects.submit(api_key=key, prompt="a lighthouse", model=model)

    assert sql("SELECT queue_name FROM procrastinate_jobs ORDER BY id") == [("render",), ("render-flux",)]


def test_queue_of_the_longest_name__is_a_valid_channel(key, sql, tmp_path, settings):
    name = "m" * MAX_MODEL_NAME
    (tmp_path / f"{name}.json").write_text(make_file())
    settings.RENDERER_URL, settings.WORKFLOWS_DIR = ["comfyui://gpu1"], str(tmp_path)

    Generation.objects.submit(api_key=key, prompt="a lighthouse", model=name)

    assert sql("SELECT queue_name FROM procrastinate_jobs") == [(f"render-{name}",)]
    assert f"render-{name}" in worker.options({})["queues"]


def test_queue__of_an_invalid_model_name_is_that_of_the_default():
    assert queues.of_model("m" * (MAX_MODEL_NAME + 1)) == "render"
