"""The four kinds of errors of a server with OpenAI's images API, as a worker treats them."""

import threading

import pytest
from django.db import connection
from PIL import Image

from generations import renderers
from generations.renderers.base import ModelUnavailable, RendererFailure, RendererUnavailable
from generations.status import Status
from generations.tests.support.images_api import ImagesApi
from lockngen.tests.support.processes import free_port

NAME = "FLUX.1-schnell"
UNEXPLAINED = "The renderer refused the request: it gave no reason."

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def use(settings):
    """Use these servers as the renderers."""

    def use(*urls: str, keys: str = "") -> None:
        renderers._pool_of.cache_clear()
        settings.RENDERER_URL, settings.OPENAI_RENDERER_KEY = list(urls), keys

    yield use
    renderers._pool_of.cache_clear()


@pytest.fixture
def other_api():
    api = ImagesApi()
    yield api
    api.close()


def error(message: str, **fields) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", **fields}}


def test_generation__is_rendered_and_its_seed_and_model_are_recorded(images_api, use, make_generation, run):
    use(images_api.url)
    first = make_generation(model="default", seed=None, width=128)

    run(first)
    again = make_generation(model=first.model, seed=first.seed, width=128)
    run(again)

    assert (first.status, first.model, first.image_width) == (Status.COMPLETED, NAME, 128)
    assert 0 <= first.seed < 2**31
    assert [body["seed"] for body in images_api.bodies] == [first.seed, first.seed]
    assert again.image_sha256 == first.image_sha256


@pytest.mark.parametrize("seed", [None, 42])
def test_generation__of_a_server_without_seeds_has_none(images_api, use, make_generation, run, image_folder, seed):
    images_api.refuses = "all"
    use(images_api.url)
    generation = make_generation(seed=seed, output_format="png")

    run(generation)

    assert (generation.status, generation.model, generation.seed) == (Status.COMPLETED, NAME, None)
    with Image.open(image_folder / generation.image_path) as image:
        assert "Seed" not in image.text["parameters"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (400, {}, error("Rejected by the safety system of gpu7.internal:8000, see /opt/policy.py.", code="x")),
            "The renderer refused the request: Rejected by the safety system of … see ….",
        ),
        ((400, {}, {"error": "invalid\x1b[31m size"}), "The renderer refused the request: invalid [31m size."),
        ((400, {}, {"detail": "Invalid size."}), "The renderer refused the request: Invalid size."),
        (
            (422, {}, {"detail": [{"loc": ["body", "guidance_scale"], "msg": "at most 20", "input": 30}]}),
            "The renderer refused the request: guidance_scale: at most 20.",
        ),
        ((422, {}, b"<html>No</html>"), UNEXPLAINED),
        ((422, {}, {"detail": [1, {"loc": 2, "msg": 3}], "error": 0}), UNEXPLAINED),
        (
            (500, {"X-Should-Retry": "false"}, error("The image could not be made: too dark.")),
            "The renderer refused the request: The image could not be made: too dark.",
        ),
        ((400, {}, error("x" * 5000)), f"The renderer refused the request: {'x' * 500}."),
    ],
    ids=["openai", "text", "detail", "fastapi", "page", "odd", "no retry", "long"],
)
def test_refusal__is_final_and_has_the_server_s_message(images_api, use, make_generation, run, answer, message):
    images_api.answers = [answer]
    use(images_api.url)
    generation = make_generation()

    run(generation)

    assert (generation.status, generation.error_message) == (Status.FAILED, message)
    assert len(images_api.bodies) == 1


def test_image__in_another_format_is_final(images_api, use, make_generation, run):
    images_api.image = "gif"
    use(images_api.url)
    generation = make_generation()

    run(generation)

    assert (generation.status, "GIF" in generation.error_message) == (Status.FAILED, True)


@pytest.mark.parametrize(
    "fault",
    [
        {"answers": [(500, {}, error("CUDA out of memory"))]},
        {"answers": [(502, {}, b"<html>Bad gateway</html>")]},
        {"answers": [(504, {"X-Should-Retry": "false"}, error("It took too long."))]},
        {"answers": [(200, {}, b"not JSON")]},
        {"answers": [(200, {}, [1])]},
        {"answers": [(200, {}, {"data": []})]},
        {"answers": [(200, {}, {"data": [{"b64_json": "?"}]})]},
        {"answers": [(200, {}, {"data": [{"b64_json": 1}]})]},
        {"image": "garbage"},
        {"image": "cut"},
        {"is_cut": True},
    ],
    ids=["500", "502", "504", "text", "list", "empty", "base64", "number", "garbage", "cut image", "cut"],
)
def test_broken_render__counts_as_attempt(images_api, use, make_generation, run, fault):
    for name, value in fault.items():
        setattr(images_api, name, value)
    use(images_api.url)
    generation = make_generation()

    with pytest.raises(RendererFailure) as failure:
        run(generation)

    assert not isinstance(failure.value, RendererUnavailable)
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 1)


def test_broken_renders__fail_after_the_last_attempt(images_api, use, make_generation, run, settings):
    settings.RENDER_MAX_ATTEMPTS = 2
    images_api.answers = [(500, {}, error("CUDA out of memory"))] * 2
    use(images_api.url)
    generation = make_generation()

    with pytest.raises(RendererFailure):
        run(generation)
    run(generation)

    assert generation.status == Status.FAILED
    assert generation.error_message == "Rendering failed after 2 attempts. The renderer failed."


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ((401, {}, error("Incorrect API key provided: sk-secret")), "access to the model FLUX.1"),
        ((403, {}, error("No.")), "access to the model FLUX.1"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "access to the model FLUX.1"),
        ((404, {}, error("The model does not exist")), "the model FLUX.1"),
        ((400, {}, error("No such model", code="model_not_found")), "the model FLUX.1"),
        ((405, {}, b""), "the model FLUX.1"),
    ],
    ids=["401", "403", "redirect", "404", "code", "405"],
)
def test_missing_model__is_rendered_elsewhere(
    images_api, other_api, use, make_generation, run, answer, missing, caplog
):
    images_api.answers = [answer]
    use(images_api.url, other_api.url)
    generation, second = make_generation(model=NAME), make_generation(model=NAME)

    run(generation)
    run(second)

    assert (generation.status, second.status) == (Status.COMPLETED, Status.COMPLETED)
    assert (len(images_api.bodies), len(other_api.bodies)) == (1, 2)
    assert f"The renderer {images_api.url} lacks {missing}" in caplog.text
    assert "sk-secret" not in caplog.text


def test_missing_model__without_another_renderer_waits(images_api, use, make_generation, run):
    images_api.answers = [(404, {}, error("The model does not exist"))]
    use(images_api.url)
    generation = make_generation(model=NAME)

    with pytest.raises(ModelUnavailable, match=f"{NAME} can't be rendered: no renderer has the model FLUX"):
        run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


@pytest.mark.parametrize(
    ("status", "retry_after"),
    [(429, "7"), (503, "Wed, 21 Oct 2099 07:28:00 GMT"), (503, "soon"), (503, ""), (429, "-1")],
)
def test_busy_server__is_left_alone_and_the_generation_waits(
    images_api, use, make_generation, run, status, retry_after
):
    images_api.answers = [(status, {"Retry-After": retry_after}, error("Slow down."))]
    use(images_api.url)
    generation = make_generation()

    with pytest.raises(RendererUnavailable):
        run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)
    assert renderers.get_pool().renderers[0].is_free == (retry_after in ("soon", "", "-1"))


def test_server_that_is_away__does_not_count_as_attempt(use, make_generation, run, monkeypatch):
    monkeypatch.setattr("generations.renderers.pool.ACQUIRE_TIMEOUT", 0.1)
    use(f"openai://127.0.0.1:{free_port()}?models=flux")
    generation = make_generation()

    with pytest.raises(RendererUnavailable):
        run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


def test_server_that_goes_away_before_the_call__does_not_count_as_attempt(
    images_api, use, make_generation, run, monkeypatch
):
    monkeypatch.setattr("generations.renderers.pooled_renderer.PooledRenderer.is_reachable", lambda self: True)
    use(f"openai://127.0.0.1:{free_port()}?models=flux")
    generation = make_generation()

    with pytest.raises(RendererUnavailable, match="can't be reached"):
        run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


@pytest.mark.parametrize("model", ["default", NAME])
def test_generation__waits_for_a_server_that_has_not_listed_its_models(images_api, use, make_generation, run, model):
    images_api.list_status = 503
    use(images_api.url)
    generation = make_generation(model=model)

    with pytest.raises(RendererUnavailable, match="listed"):
        run(generation)
    images_api.list_status = 200
    renderers.get_pool().renderers[0].support.refresh(5, now=True)
    run(generation)

    assert (generation.status, generation.model, generation.counted_attempts) == (Status.COMPLETED, NAME, 1)


def test_cancelled_generation__closes_the_call(images_api, use, make_generation, run, monkeypatch):
    monkeypatch.setattr("generations.tasks.CHECK_INTERVAL", 0.1)
    images_api.is_held = True
    use(images_api.url)
    generation = make_generation()

    def cancel() -> None:
        try:
            assert images_api.begun.wait(10)
            generation.cancel()
        finally:
            connection.close()

    thread = threading.Thread(target=cancel)
    thread.start()
    run(generation)
    thread.join()

    assert generation.status == Status.CANCELLED
    assert images_api.was_left.wait(5)


def test_render__that_takes_longer_than_render_timeout_fails(images_api, use, make_generation, run, settings):
    settings.RENDER_TIMEOUT = 0.3
    images_api.is_held = True
    use(images_api.url)
    generation = make_generation()

    run(generation)

    assert generation.status == Status.FAILED
    assert generation.error_message == "Rendering took longer than 0.3 seconds."
    assert images_api.was_left.wait(5)
