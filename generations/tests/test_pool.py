"""Which renderer of a pool renders a request."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from generations.renderers.base import RendererFailure, RenderError, RendererUnavailable
from generations.renderers.pool import RendererPool
from generations.tests.support.comfyui.renders import Stop
from generations.tests.support.renderers import FakeRenderer, make_pool
from lockngen.tests.support.waiting import wait_until


@pytest.fixture
def render(make_request):
    """Render with a pool, and return the name of the renderer."""

    def render(pool: RendererPool, progress=lambda percent: None, **fields) -> str:
        return pool.render(make_request(**{"model": "m", **fields}), progress).decode()

    return render


def test_request__goes_to_a_renderer_with_its_model(render):
    pool = make_pool(FakeRenderer("a", "small"), FakeRenderer("b", "small", "large"))

    assert [render(pool, model=model) for model in ("small", "large")] == ["a", "b"]


def test_models__are_those_of_all_renderers_and_the_first_is_the_default(render):
    first, second = FakeRenderer("a", "x", "y"), FakeRenderer("b", "z", "y")
    pool = make_pool(first, second)

    render(pool, model="default")

    assert list(pool.models) == ["x", "y", "z"]
    assert first.requests[0].model == "x"


def test_unknown_model__fails_the_request(render):
    with pytest.raises(RenderError, match="no such model"):
        render(make_pool(FakeRenderer("a")), model="gone")


def test_concurrency__of_each_renderer_is_not_exceeded(render):
    one, two = FakeRenderer("one", concurrency=1), FakeRenderer("two", concurrency=2)
    pool = make_pool(one, two)
    one.may_end.clear(), two.may_end.clear()

    with ThreadPoolExecutor(6) as threads:
        made = [threads.submit(render, pool) for _ in range(6)]
        wait_until(lambda: one.rendering + two.rendering == 3)
        one.may_end.set(), two.may_end.set()

    assert pool.concurrency == 3
    assert (one.max_rendering, two.max_rendering, len([future.result() for future in made])) == (1, 2, 6)


def test_renderer_that_is_down__is_skipped_until_it_is_back(render, change_policy):
    change_policy("HEALTH_PROBE", first_pause=0.2)
    down, up = FakeRenderer("down"), FakeRenderer("up")
    down.is_up = False
    pool = make_pool(down, up)
    assert render(pool) == "up"

    down.is_up, up.is_up = True, False

    assert render(pool) == "down"


def test_renderer_that_failed__is_the_last_choice_of_the_next_attempt(render):
    broken, other = FakeRenderer("broken"), FakeRenderer("other")
    broken.failure = RendererFailure("The renderer ran out of memory.")
    pool = make_pool(broken, other)

    with pytest.raises(RendererFailure, match="memory"):
        render(pool)

    assert render(pool, attempt=2) == "other"


def test_renderer_that_failed__is_used_if_there_is_no_other(render):
    broken = FakeRenderer("broken")
    broken.failure = RendererFailure("The renderer ran out of memory.")
    pool = make_pool(broken)
    with pytest.raises(RendererFailure):
        render(pool)
    broken.failure = None

    assert render(pool) == "broken"


def test_next_attempt__uses_the_renderer_that_can_resume(render, make_request):
    first, second = FakeRenderer("first"), FakeRenderer("second")
    id = make_request().id
    second.resumable.add(id)
    pool = make_pool(first, second)

    assert render(pool, id=id, attempt=2) == "second"
    assert render(pool, id=id) == "first"


def test_next_attempt__uses_another_renderer_if_that_one_is_down(render, make_request):
    first, second = FakeRenderer("first"), FakeRenderer("second")
    id = make_request().id
    second.resumable.add(id)
    second.is_up = False

    assert render(make_pool(first, second), id=id, attempt=2) == "first"


@pytest.mark.parametrize("is_up", [True, False], ids=["full", "down"])
def test_request__without_a_free_renderer_is_refused(render, monkeypatch, is_up):
    monkeypatch.setattr("generations.renderers.pool.ACQUIRE_TIMEOUT", 0.1)
    renderer = FakeRenderer("a")
    renderer.is_up = is_up
    pool = make_pool(renderer)
    pool.renderers[0].rendering = int(is_up)

    with pytest.raises(RendererUnavailable):
        render(pool)


def test_waiting_request__can_be_stopped(render):
    renderer = FakeRenderer("a")
    pool = make_pool(renderer)
    pool.renderers[0].rendering = 1

    def stop(percent):
        raise Stop

    with pytest.raises(Stop):
        render(pool, stop)

    assert pool.renderers[0].rendering == 1


def test_slot__is_released_after_an_error(render):
    renderer = FakeRenderer("a")
    renderer.failure = RenderError("No.")
    pool = make_pool(renderer)

    for _ in range(3):
        with pytest.raises(RenderError, match="No"):
            render(pool)

    assert pool.renderers[0].rendering == 0


def test_cancel__is_passed_to_all_renderers(make_request):
    first, second = FakeRenderer("first"), FakeRenderer("second")
    id = make_request().id

    make_pool(first, second).cancel(id)

    assert (first.cancelled, second.cancelled) == ([id], [id])
