"""The models of servers with OpenAI's images API, for clients and workers."""

import pytest
from django.core.management import CommandError

from generations import monitoring, renderers
from generations.checks import models_are_available
from generations.management.commands.status import as_text
from generations.models import Generation
from generations.renderers.openai import names
from generations.scheduling import worker
from generations.tests.support.calls import assert_problem, post
from lockngen.tests.support.processes import free_port

URL = "/api/v1/models"


@pytest.fixture(autouse=True)
def new_pool():
    """Each test has a pool of its own: its renderers know the models that their servers listed."""
    renderers._pool_of.cache_clear()
    yield
    renderers._pool_of.cache_clear()


@pytest.fixture
def use(settings):
    def use(*urls: str) -> None:
        settings.RENDERER_URL = list(urls)

    return use


@pytest.fixture
def refresh():
    """Query the renderers again, as happens once a minute."""
    return lambda: [pooled.support.refresh(5, now=True) for pooled in renderers.get_pool().renderers]


def test_models__are_those_that_the_server_lists(api, images_api, use):
    images_api.models = ["x/z-image-turbo:latest", "black-forest-labs/FLUX.1-schnell"]
    use(images_api.url)

    models = api.get(URL).json()

    assert [(model["name"], model["is_default"]) for model in models["items"]] == [
        ("z-image-turbo", True),
        ("FLUX.1-schnell", False),
    ]
    assert models["unavailable"] == []
    assert post(api, {"prompt": "x", "model": "FLUX.1-schnell"}).status_code == 201
    assert_problem(post(api, {"prompt": "x", "model": "gpt-4"}), 422, "model", "default, z-image-turbo, FLUX.1-schnell")


@pytest.mark.parametrize(("listed", "name"), [(["default", "sdxl"], "sdxl"), (["default"], "default-37a8ee")])
def test_listed_default__is_a_model_only_if_there_is_no_other(api, images_api, use, listed, name):
    images_api.models = listed
    use(images_api.url)

    assert [model["name"] for model in api.get(URL).json()["items"]] == [name]


def test_models__are_limited_by_the_option_which_also_orders_them(api, images_api, use):
    images_api.models = ["gpt-4", "a/flux", "b/sdxl"]
    use(f"{images_api.url}?models=sdxl+a/flux")

    models = api.get(URL).json()["items"]

    assert [(model["name"], model["is_default"]) for model in models] == [("sdxl", True), ("flux", False)]


def test_model_of_the_option__that_is_not_listed_is_unavailable(api, images_api, use):
    use(f"{images_api.url}?models=sdxl+FLUX.1-schnell")

    models = api.get(URL).json()

    reason = "no renderer has the model sdxl"
    assert [model["name"] for model in models["items"]] == ["FLUX.1-schnell"]
    assert models["unavailable"] == [{"name": "sdxl", "reason": reason}]
    assert [message.msg for message in models_are_available(None)] == [f"sdxl: {reason}."]
    assert f"sdxl: {reason}" in as_text(monitoring.gather())


@pytest.mark.parametrize("listed", [None, []], ids=["missing", "empty"])
@pytest.mark.parametrize(("query", "name"), [("", "127.0.0.1"), ("?models=a/flux", "flux")], ids=["host", "option"])
def test_model__of_a_server_without_a_list_is_one(api, images_api, use, listed, query, name):
    images_api.models = listed
    use(f"{images_api.url}{query}")

    assert [model["name"] for model in api.get(URL).json()["items"]] == [name]


def test_model_named_by_the_host__is_not_sent(images_api, use, make_request):
    images_api.models = None
    use(images_api.url)
    pool = renderers.get_pool()

    pool.render(pool.settle(make_request(model="default")), lambda percent: None)

    assert "model" not in images_api.bodies[0]


def test_default__is_accepted_before_a_server_has_listed_its_models(api, use):
    use(f"openai://127.0.0.1:{free_port()}")

    assert post(api, {"prompt": "x", "seed": 7}).status_code == 201
    assert_problem(post(api, {"prompt": "x", "model": "flux"}), 422, "model", "valid models: default")


@pytest.mark.parametrize("fault", [{"list_status": 503}, {"models": []}, {"models": None}])
def test_models__are_kept_while_the_server_lists_none(api, images_api, use, refresh, fault):
    use(images_api.url)
    api.get(URL)
    for name, value in fault.items():
        setattr(images_api, name, value)
    refresh()

    assert [model["name"] for model in api.get(URL).json()["items"]] == ["FLUX.1-schnell"]


def test_model__that_is_not_listed_any_more_is_unavailable_until_it_is_back(api, images_api, use, refresh):
    use(images_api.url)
    api.get(URL)
    images_api.models = ["sdxl"]
    refresh()
    gone = api.get(URL).json()
    images_api.models = ["sdxl", "black-forest-labs/FLUX.1-schnell"]
    refresh()

    assert [model["name"] for model in gone["items"]] == ["sdxl"]
    assert gone["unavailable"][0]["name"] == "FLUX.1-schnell"
    assert [model["name"] for model in api.get(URL).json()["items"]] == ["sdxl", "FLUX.1-schnell"]


def test_defaults__are_those_of_the_url(api, images_api, use):
    use(f"{images_api.url}?steps=9&guidance=0&width=1024")

    answer = post(api, {"prompt": "x"}).json()

    assert (answer["steps"], answer["guidance"], answer["width"], answer["height"]) == (9, 0, 1024, 512)


def test_seed__is_limited_to_32_bits(api, images_api, use):
    use(images_api.url)

    assert_problem(post(api, {"prompt": "x", "seed": 2**31}), 422, "seed", "it must be from 0 to 2147483647")


@pytest.mark.parametrize(
    "models", [["a" * 500], ["\x1b[31m", 7, None, {}, "ok"], [f"m{number}" for number in range(5000)]]
)
def test_hostile_list__gives_valid_names(images_api, use, refresh, models):
    images_api.models = models
    use(images_api.url)
    refresh()

    found = renderers.get_pool().models

    assert 1 <= len(found) <= 100
    assert all(1 <= len(name) <= 33 and name.isprintable() for name in found)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["gpt-image-1"], {"gpt-image-1": "gpt-image-1"}),
        (["a/flux", "b/flux", "b/flux"], {"flux": "a/flux", "b-flux": "b/flux"}),
        (["/models/FLUX 1/"], {"FLUX-1": "/models/FLUX 1/"}),
        (["default", "a/default"], {"default-37a8ee": "default", "a-default": "a/default"}),
        (["é"], {"4a9955": "é"}),
        (["a/" + 35 * "x", "a/" + 36 * "x"], {33 * "x": "a/" + 35 * "x", "a-" + 31 * "x": "a/" + 36 * "x"}),
        (["x:latest", "x:8b"], {"x": "x:latest", "x-8b": "x:8b"}),
    ],
)
def test_names__are_the_last_parts_of_the_ids(ids, expected):
    assert names.by_name(ids) == expected


def test_chosen_models__keep_their_names_whatever_is_listed():
    wanted = ("b-flux", "sdxl", "a/flux")

    assert names.chosen(wanted, ()) == {"b-flux": "b-flux", "sdxl": "sdxl", "flux": "a/flux"}
    assert names.chosen(wanted, ["a/flux", "b/flux", "c/sdxl"]) == {
        "b-flux": "b/flux",
        "sdxl": "c/sdxl",
        "flux": "a/flux",
    }


def test_worker__fetches_from_the_queues_of_the_listed_models(images_api, use, refresh, monkeypatch):
    followed = []
    monkeypatch.setattr(worker, "follow", lambda *arguments: followed.append(arguments))
    images_api.models = ["flux"]
    use(images_api.url)

    fetched = worker.options({})["queues"]
    first = list(fetched)
    images_api.models = ["flux", "sdxl"]
    refresh()
    worker.update(*followed[0])
    second = list(fetched)
    images_api.models = ["sdxl"]
    refresh()
    worker.update(*followed[0])

    assert first == ["maintenance", "render", "render-flux"]
    assert second == ["maintenance", "render", "render-flux", "render-sdxl"]
    assert fetched == ["maintenance", "render", "render-sdxl"]


def test_worker__accepts_queues_of_models_that_are_not_listed_yet(images_api, use, monkeypatch):
    monkeypatch.setattr(worker, "follow", lambda *arguments: None)
    use(f"openai://127.0.0.1:{free_port()}")
    assert worker.options({"queues": ["render-flux"]})["queues"] == ["render-flux"]

    use(images_api.url)
    with pytest.raises(CommandError, match=r"the queues are maintenance, render, render-FLUX\.1-schnell"):
        worker.options({"queues": ["render-flux"]})


def test_generation__waits_in_the_queue_of_its_model(api, images_api, use, sql):
    use(images_api.url)

    post(api, {"prompt": "x", "model": "FLUX.1-schnell"})

    assert Generation.objects.get().model == "FLUX.1-schnell"
    assert sql("SELECT queue_name FROM procrastinate_jobs") == [("render-FLUX.1-schnell",)]
