"""Replicate's models and versions."""

import pytest

from generations.dialects.replicate import versions
from generations.models import Generation
from generations.renderers.base import Model
from generations.tests.support.replicate import PREDICTIONS, VERSION, assert_error, create, get


@pytest.mark.parametrize(
    "version",
    ["sketch", "default", "lockngen/sketch", f"lockngen/sketch:{VERSION}", VERSION, "someone/sketch", "x/default"],
)
def test_create__finds_the_model_of_a_version(api, version):
    answer = create(api, PREDICTIONS, {"version": version})

    assert (answer.status_code, answer.json()["model"], answer.json()["version"]) == (201, "lockngen/sketch", VERSION)


@pytest.mark.parametrize("version", ["dall-e-3", "flux/schnell", "flux/schnell:0123", "0123", "lockngen/old:0123"])
def test_create__finds_the_model_of_an_alias(api, settings, version):
    aliases = {"dall-e-3": "default", "flux/schnell": "sketch", "0123": "sketch", "lockngen/old": "default"}
    settings.MODEL_ALIASES = aliases

    assert create(api, PREDICTIONS, {"version": version}).json()["model"] == "lockngen/sketch"
    assert create(api, "/v1/models/flux/schnell/predictions").status_code == 201
    assert api.get("/v1/models/flux/schnell").json()["name"] == "sketch"


@pytest.mark.parametrize("version", ["x", "lockngen/x", f"lockngen/sketch:{'0' * 64}", f"x/y:{VERSION}", "0" * 64, ""])
def test_create__of_an_unknown_version_is_refused(api, version):
    error = assert_error(
        create(api, PREDICTIONS, {"version": version}), 422, "Unprocessable Entity", "version", "lockngen/sketch"
    )

    assert error["invalid_fields"][0]["field"] == "version"
    assert not Generation.objects.exists()


def test_create__needs_a_version(api):
    assert_error(create(api, PREDICTIONS), 422, "Unprocessable Entity", "version", "required")


def test_create__of_an_unknown_model_is_a_404(api):
    assert_error(create(api, "/v1/models/lockngen/x/predictions"), 404, "Not Found", "lockngen/x", "lockngen/sketch")


def test_models__have_one_version_with_a_schema(api):
    (listed,) = api.get("/replicate/v1/models").json()["results"]
    shown = api.get("/v1/models/lockngen/sketch").json()
    (version,) = api.get("/v1/models/lockngen/sketch/versions").json()["results"]

    assert shown == listed == api.get("/v1/models/lockngen/default").json()
    assert shown["latest_version"] == version
    assert version == api.get(f"/v1/models/lockngen/sketch/versions/{VERSION}").json()
    assert (shown["owner"], shown["name"], version["id"]) == ("lockngen", "sketch", VERSION)
    schemas = version["openapi_schema"]["components"]["schemas"]
    assert schemas["Output"]["items"] == {"type": "string", "format": "uri"}
    input = schemas["Input"]
    assert input["required"] == ["prompt"]
    assert (
        input["properties"]["num_inference_steps"].items() >= {"type": "integer", "default": 30, "maximum": 150}.items()
    )
    assert_error(api.get("/v1/models/lockngen/x"), 404, "Not Found", "lockngen/sketch")
    assert_error(api.get(f"/v1/models/lockngen/sketch/versions/{'0' * 64}"), 404, "Not Found")


def test_version__changes_with_the_parameters_of_its_model():
    model = Model("flux", defaults={"steps": 4})

    assert versions.version_of(model) == versions.version_of(Model("flux", "x", {"steps": 4}))
    assert versions.version_of(model) != versions.version_of(Model("flux", defaults={"steps": 5}))
    assert versions.as_version(model)["openapi_schema"]["components"]["schemas"]["Input"]["properties"][
        "num_inference_steps"
    ]["default"] == 4  # fmt: skip


def test_prediction_of_a_model_that_is_gone__has_a_hidden_version(api, make_generation):
    shown = get(api, make_generation(model="gone"))

    assert (shown["model"], shown["version"]) == ("lockngen/gone", "hidden")
