"""Which renderer supports which model, and what follows for clients and workers."""

import json
import threading
import time

import pytest

from generations import monitoring, renderers
from generations.checks import models_are_available
from generations.management.commands.status import as_text
from generations.models import Generation
from generations.renderers import workflows
from generations.renderers.base import MAX_SEED, ModelUnavailable, RenderError
from generations.renderers.comfyui import capabilities
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.renderers.support import Support, SupportCache
from generations.renderers.workflows.workflow import parse
from generations.scheduling import worker
from generations.tests.support.calls import assert_problem, post
from generations.tests.support.comfyui.graphs import make_file
from generations.tests.support.comfyui.renders import make_renderer
from generations.tests.support.renderers import FakeRenderer, make_pool

SDXL, FLUX = "sd_xl_base_1.0.safetensors", "flux1-dev-fp8.safetensors"


class Limited(FakeRenderer):
    """A renderer that lacks something for its models."""

    def __init__(self, name: str, *models: str, lacks: tuple[str, ...] = (), largest_seed: int = MAX_SEED):
        super().__init__(name, *models)
        self.lacks, self.largest_seed, self.queries = lacks, largest_seed, 0

    def support(self):
        self.queries += 1
        if not self.is_up:
            raise OSError("no route")
        return {model: Support(self.lacks, self.largest_seed) for model in self.models}


@pytest.fixture
def comfyui(settings, double):
    """The double as the only renderer."""
    renderers._pool_of.cache_clear()
    settings.RENDERER_URL, settings.DEFAULT_WORKFLOW = [double.url], "sdxl"
    yield double
    renderers._pool_of.cache_clear()


@pytest.mark.parametrize("lacks", [[SDXL], [SDXL, FLUX], ["CheckpointLoaderSimple"]])
def test_missing_checkpoint__is_reported_from_the_first_request_on(api, comfyui, lacks):
    comfyui.set(lacks=lacks)

    answer = post(api, {"prompt": "a lighthouse"})

    missing = f"no renderer has the {'node' if lacks[0] != SDXL else 'checkpoint'} {lacks[0]}"
    assert_problem(answer, 422, "model", "sdxl can't be rendered", missing, "valid models: blank")
    assert not Generation.all_objects.exists()
    assert post(api, {"prompt": "a lighthouse", "model": "blank"}).status_code == 201


def test_models__are_those_that_a_renderer_supports(api, comfyui):
    comfyui.set(lacks=[FLUX])

    models = api.get("/api/v1/models").json()

    assert [model["name"] for model in models["items"]] == ["sdxl", "blank"]
    reason = f"no renderer has the checkpoint {FLUX}"
    assert models["unavailable"] == [{"name": "flux", "reason": reason}]
    assert f"flux: {reason}" in as_text(monitoring.gather())
    assert [message.msg for message in models_are_available(None)] == [f"flux: {reason}."]


def test_models__are_all_while_no_server_answers(api, comfyui):
    comfyui.set(status=503)

    models = api.get("/api/v1/models").json()

    assert (len(models["items"]), models["unavailable"]) == (3, [])


def test_explicit_seed__is_limited_by_the_node(api, comfyui, settings, tmp_path):
    image = {"width": 64, "height": 64, "batch_size": 1, "color": "{{seed}}"}
    (tmp_path / "film.json").write_text(make_file(image))
    (tmp_path / "grain.json").write_text(make_file(lockngen={"largest_seed": 1000}))
    settings.WORKFLOWS_DIR = str(tmp_path)

    assert_problem(
        post(api, {"prompt": "x", "model": "film", "seed": 2**24}),
        422,
        "seed",
        "model film it must be from 0 to 16777215",
    )
    assert_problem(
        post(api, {"prompt": "x", "model": "grain", "seed": 1001}), 422, "seed", "model grain it must be from 0 to 1000"
    )
    assert post(api, {"prompt": "x", "model": "film", "seed": 2**24 - 1}).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_drawn_seed__fits_the_node_and_is_recorded(comfyui, settings, tmp_path, make_generation, run):
    image = {"width": 64, "height": 64, "batch_size": 1, "color": "{{seed}}"}
    (tmp_path / "film.json").write_text(make_file(image))
    settings.WORKFLOWS_DIR, settings.DEFAULT_WORKFLOW = str(tmp_path), "film"
    first = make_generation(seed=None)

    run(first)
    again = make_generation(seed=first.seed, model=first.model)
    run(again)

    assert (first.model, first.seed <= 0xFFFFFF) == ("film", True)
    colors = [prompt["prompt"]["1"]["inputs"]["color"] for prompt in comfyui.prompts()]
    assert colors == [first.seed, first.seed]


def test_refusal__for_a_missing_checkpoint_is_retried_on_another_renderer(double, make_request):
    class Elsewhere(FakeRenderer):
        models = None

    able = Elsewhere("able", "sdxl")
    able.concurrency = 1
    pool = RendererPool([PooledRenderer(double.url, make_renderer(double)), PooledRenderer("sketch://able", able)])
    pool.refresh(5)
    double.set(lacks=[SDXL])  # after its answer

    made = [pool.render(make_request(model="sdxl"), lambda percent: None) for _ in range(3)]

    assert made == [b"able"] * 3
    assert len(double.prompts()) <= 1


def test_refusal__of_a_model_without_a_renderer_is_not_final(double, make_request):
    pool = RendererPool([PooledRenderer(double.url, make_renderer(double))])
    pool.refresh(5)
    double.set(lacks=[SDXL])

    with pytest.raises(ModelUnavailable, match=f"model sdxl can't be rendered: no renderer has the checkpoint {SDXL}"):
        pool.render(make_request(model="sdxl"), lambda percent: None)


def test_refusal__of_the_request_is_final(make_request):
    renderer = Limited("a")
    renderer.failure = RenderError("No.")

    with pytest.raises(RenderError, match="No"):
        make_pool(renderer).render(make_request(model="m"), lambda percent: None)

    assert len(renderer.requests) == 1


def test_worker__fetches_only_models_that_its_renderers_support(comfyui):
    comfyui.set(lacks=[SDXL])
    chosen = ["maintenance", "render", "render-sdxl", "render-flux"]
    taken = list(chosen)

    worker.update(taken, chosen)
    assert taken == ["maintenance", "render-flux"]

    comfyui.set()
    renderers.get_pool().renderers[0].support.refresh(5, now=True)
    worker.update(taken, chosen)
    assert taken == chosen


def test_support__is_unknown_while_there_is_no_answer():
    renderer = Limited("a", lacks=("the node X",))
    cache = SupportCache(renderer)

    for is_up, missing in ((True, ("the node X",)), (False, ()), (True, ("the node X",))):
        renderer.is_up = is_up
        cache.refresh(5, now=True)
        assert cache.of("m").missing == missing


def test_support__is_queried_once_a_minute_without_blocking():
    renderer = Limited("a")
    may_answer = threading.Event()
    support, renderer.support = renderer.support, lambda: may_answer.wait(10) and support()
    cache = SupportCache(renderer)

    started_at = time.monotonic()
    for _ in range(3):
        cache.refresh()
    assert time.monotonic() - started_at < 1
    may_answer.set()
    for _ in range(3):
        cache.refresh(5)

    assert renderer.queries == 1


def test_unavailable__has_models_that_no_renderer_supports():
    one = Limited("one", "x", "y", lacks=("the node A", "the node B"))
    two = Limited("two", "x", lacks=("the node C",))
    pool = make_pool(one, two, FakeRenderer("all", "z"))

    pool.refresh(5)

    assert pool.unavailable() == {
        "x": "no renderer has the node C",
        "y": "no renderer has the node A, the node B",
    }


def test_settled_seed__is_the_same_for_each_attempt_and_fits_every_renderer(make_request):
    pool = make_pool(Limited("a", largest_seed=1000), Limited("b", largest_seed=7))
    request = make_request(model="default")

    settled = {pool.settle(request).seed for _ in range(2)}

    assert len(settled) == 1
    assert settled.pop() <= 7
    assert pool.settle(make_request(model="m", seed=12345)).seed == 12345
    assert pool.settle(request).model == "m"


@pytest.mark.parametrize(
    ("config", "value", "missing"),
    [
        ([["a", "b"]], "a", ()),
        ([["a", "b"], {}], "c", ("the lora of EmptyImage c",)),
        (["COMBO", {"options": ["a"]}], "c", ("the lora of EmptyImage c",)),
        ([[]], "c", ("the lora of EmptyImage c",)),
        ([["a"], {"image_upload": True}], "c", ()),
        (["COMBO", {"remote": {}}], "c", ()),
        ([["a"]], "{{prompt}}", ()),
        ([["a"]], ["2", 0], ()),
        (["STRING", {}], "c", ()),
        ("odd", "c", ()),
        ([], "c", ()),
    ],
)
def test_missing__has_literal_values_that_the_server_lacks(config, value, missing):
    own = parse("own", make_file({"lora": value}))
    nodes = {"EmptyImage": {"input": {"required": None, "optional": {"lora": config}}}, "SaveImage": {}}

    assert capabilities.support(own, nodes) == Support(missing)


def test_missing__has_nodes_that_the_output_does_not_need():
    own = parse("own", make_file(**{"7": {"class_type": "Mine", "inputs": {}}}))

    assert capabilities.support(own, {"Mine": None}).missing == ("the node Mine",)


@pytest.mark.parametrize(
    ("config", "largest"),
    [(["INT", {"max": 1000}], 1000), (["INT", {"max": 2**64}], MAX_SEED), (["FLOAT", {"max": 1}], MAX_SEED)],
)
def test_largest_seed__is_the_node_s_maximum(config, largest):
    own = parse("own", make_file({"seed": "{{seed}}"}))

    assert capabilities.support(own, {"EmptyImage": {"input": {"required": {"seed": config}}}}).largest_seed == largest


def test_support__requests_only_the_nodes_of_the_workflows(double):
    found = make_renderer(double).support()

    assert found == {name: Support(largest_seed=MAX_SEED) for name in workflows.read().workflows}
    assert double.calls("GET", "/object_info") == []
    assert len(double.calls("GET", "/object_info/SaveImage")) == 1


@pytest.mark.parametrize("seed", [-1, 2**53, 6687881544318117707, 2**64 - 1])
def test_seed_beyond_the_limits__is_refused_with_a_hint_at_null(api, seed):
    assert_problem(post(api, {"prompt": "x", "seed": seed}), 422, "seed", "0 to 9007199254740991", "null")


@pytest.mark.parametrize("seed", ["42", 42.5, True, ""])
def test_seed__is_a_whole_number(api, seed):
    assert_problem(post(api, {"prompt": "x", "seed": seed}), 422, "seed")


def test_completed_generation__submitted_again_gives_the_same_image(api, run, transactional_db):
    def complete(body: dict) -> dict:
        id = post(api, body).json()["id"]
        run(Generation.objects.get(pk=id))
        return json.loads(api.get(f"/api/v1/generations/{id}").content)

    first = complete({"prompt": "a lighthouse"})
    fields = ("prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed")
    again = complete({name: first[name] for name in fields})

    assert first["model"] == "sketch"
    assert 0 <= first["seed"] <= MAX_SEED
    assert again["image"]["sha256"] == first["image"]["sha256"]
