"""The list of models, and their default parameters."""

import pytest

from generations.models import Generation
from generations.tests.support.calls import assert_problem, post
from generations.tests.support.comfyui.graphs import make_file

URL = "/api/v1/models"


@pytest.fixture
def comfyui(settings):
    settings.RENDERER_URL = ["comfyui://127.0.0.1:9"]
    settings.DEFAULT_WORKFLOW = "sdxl"


def test_list__without_another_renderer_has_only_the_sketch(api):
    (model,) = api.get(URL).json()["items"]

    assert (model["name"], model["is_default"], model["defaults"]) == ("sketch", True, {})


def test_list__has_the_workflows_beginning_with_the_default(api, comfyui):
    models = api.get(URL).json()["items"]

    assert [(model["name"], model["is_default"]) for model in models] == [
        ("sdxl", True),
        ("blank", False),
        ("flux", False),
    ]
    assert models[2]["defaults"] == {"width": 1024, "height": 1024, "steps": 20, "guidance": 3.5}
    assert all(model["description"] for model in models)


def test_list__has_workflows_of_the_operator(api, comfyui, settings, tmp_path):
    (tmp_path / "portraits.json").write_text(make_file(lockngen={"description": "Faces.", "steps": 8}))
    settings.WORKFLOWS_DIR, settings.DEFAULT_WORKFLOW = str(tmp_path), "portraits"

    first = api.get(URL).json()["items"][0]

    assert first == {"name": "portraits", "description": "Faces.", "is_default": True, "defaults": {"steps": 8}}


@pytest.mark.parametrize("model", ["sdxl", "sketch ", "Sketch", "../sketch"])
def test_unknown_model__is_refused_with_the_list_of_models(api, model):
    answer = post(api, {"prompt": "x", "model": model})

    assert_problem(answer, 422, "model", "default, sketch")
    assert not Generation.all_objects.exists()


@pytest.mark.parametrize("model", ["default", "sdxl", "flux", "blank"])
def test_known_model__is_accepted(api, comfyui, model):
    assert post(api, {"prompt": "x", "model": model}).json()["model"] == model


def test_model_of_another_renderer__is_refused(api, comfyui):
    assert_problem(post(api, {"prompt": "x", "model": "sketch"}), 422, "model", "default, sdxl, blank, flux")


@pytest.mark.parametrize(
    ("model", "requested", "used"),
    [
        ("flux", {}, (1024, 1024, 20, 3.5)),
        ("default", {}, (1024, 1024, 30, 7.0)),
        ("flux", {"width": 512, "steps": 30}, (512, 1024, 30, 3.5)),
        ("blank", {}, (512, 512, 30, 7.0)),
    ],
)
def test_model__has_defaults_for_omitted_parameters(api, comfyui, model, requested, used):
    answer = post(api, {"prompt": "x", "model": model, **requested}).json()

    assert (answer["width"], answer["height"], answer["steps"], answer["guidance"]) == used
