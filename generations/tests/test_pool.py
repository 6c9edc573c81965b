"""Which of several renderers makes a picture."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from generations.renderers import Model, RendererFailure, RenderError, RendererUnavailable, pool
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.tests.support.comfyui.renders import Stop


class Painter:
    """A renderer that says its name for a picture."""

    def __init__(self, name: str, *models: str, concurrency: float = 1):
        self.name, self.concurrency = name, concurrency
        self.models = {model: Model(model) for model in models or ("m",)}
        self.is_up, self.failure = True, None
        self.holding, self.cancelled, self.asked, self.most, self.rendering = set(), [], [], 0, 0
        self.may_end = threading.Event()
        self.may_end.set()

    def render(self, request, progress) -> bytes:
        self.asked.append(request)
        self.rendering += 1
        self.most = max(self.most, self.rendering)
        try:
            assert self.may_end.wait(10)
            if self.failure:
                raise self.failure
            return self.name.encode()
        finally:
            self.rendering -= 1

    def cancel(self, id: UUID) -> None:
        self.cancelled.append(id)

    def can_resume(self, id: UUID) -> bool:
        return id in self.holding

    def state(self) -> str:
        if not self.is_up:
            raise OSError("no route")
        return "ok"


@pytest.fixture
def probe(make_request):
    """Have a fleet render a picture, and tell who did."""

    def probe(painters: RendererPool, progress=lambda percent: None, **fields) -> str:
        return painters.render(make_request(**{"model": "m", **fields}), progress).decode()

    return probe


def make_fleet(*painters: Painter) -> RendererPool:
    return RendererPool([PooledRenderer(f"sketch://{painter.name}", painter) for painter in painters])


def test_picture__goes_to_who_has_its_model(probe):
    painters = make_fleet(Painter("a", "small"), Painter("b", "small", "large"))

    assert [probe(painters, model=model) for model in ("small", "large")] == ["a", "b"]


def test_models__are_those_of_all_and_the_first_is_the_default(probe):
    first, second = Painter("a", "x", "y"), Painter("b", "z", "y")
    painters = make_fleet(first, second)

    probe(painters, model="default")

    assert list(painters.models) == ["x", "y", "z"]
    assert first.asked[0].model == "x"


def test_model__that_nobody_has_fails_the_picture(probe):
    with pytest.raises(RenderError, match="no such model"):
        probe(make_fleet(Painter("a")), model="gone")


def test_renderers__take_no_more_at_once_than_they_can(probe):
    one, two = Painter("one", concurrency=1), Painter("two", concurrency=2)
    painters = make_fleet(one, two)
    one.may_end.clear(), two.may_end.clear()

    with ThreadPoolExecutor(6) as threads:
        made = [threads.submit(probe, painters) for _ in range(6)]
        while one.rendering + two.rendering < 3:
            pass
        one.may_end.set(), two.may_end.set()

    assert painters.concurrency == 3
    assert (one.most, two.most, len([future.result() for future in made])) == (1, 2, 6)


def test_one_that_is_down__is_passed_over_and_comes_back(probe, monkeypatch):
    monkeypatch.setattr("generations.renderers.pooled_renderer.FIRST_PAUSE", 0.2)
    down, up = Painter("down"), Painter("up")
    down.is_up = False
    painters = make_fleet(down, up)
    assert probe(painters) == "up"

    down.is_up, up.is_up = True, False

    assert probe(painters) == "down"


def test_one_that_broke_off__is_the_last_choice_of_the_next_attempt(probe):
    broken, other = Painter("broken"), Painter("other")
    broken.failure = RendererFailure("The renderer ran out of memory.")
    painters = make_fleet(broken, other)

    with pytest.raises(RendererFailure, match="memory"):
        probe(painters)

    assert probe(painters, attempt=2) == "other"


def test_one_that_broke_off__is_taken_where_there_is_no_other(probe):
    broken = Painter("broken")
    broken.failure = RendererFailure("The renderer ran out of memory.")
    painters = make_fleet(broken)
    with pytest.raises(RendererFailure):
        probe(painters)
    broken.failure = None

    assert probe(painters) == "broken"


def test_next_attempt__goes_on_where_the_last_one_left_something(probe, make_request):
    first, second = Painter("first"), Painter("second")
    id = make_request().id
    second.holding.add(id)
    painters = make_fleet(first, second)

    assert probe(painters, id=id, attempt=2) == "second"
    assert probe(painters, id=id) == "first"


def test_next_attempt__goes_elsewhere_where_that_is_down(probe, make_request):
    first, second = Painter("first"), Painter("second")
    id = make_request().id
    second.holding.add(id)
    second.is_up = False

    assert probe(make_fleet(first, second), id=id, attempt=2) == "first"


@pytest.mark.parametrize("is_up", [True, False], ids=["full", "down"])
def test_picture_that_nobody_takes__goes_back_to_the_queue(probe, monkeypatch, is_up):
    monkeypatch.setattr(pool, "ACQUIRE_TIMEOUT", 0.1)
    painter = Painter("a")
    painter.is_up = is_up
    painters = make_fleet(painter)
    painters.renderers[0].rendering = int(is_up)

    with pytest.raises(RendererUnavailable):
        probe(painters)


def test_picture_that_waits__can_be_called_off(probe):
    painter = Painter("a")
    painters = make_fleet(painter)
    painters.renderers[0].rendering = 1

    def stop(percent):
        raise Stop

    with pytest.raises(Stop):
        probe(painters, stop)

    assert painters.renderers[0].rendering == 1


def test_room__is_given_back_whatever_happens(probe):
    painter = Painter("a")
    painter.failure = RenderError("No.")
    painters = make_fleet(painter)

    for _ in range(3):
        with pytest.raises(RenderError, match="No"):
            probe(painters)

    assert painters.renderers[0].rendering == 0


def test_cancel__reaches_all(make_request):
    first, second = Painter("first"), Painter("second")
    id = make_request().id

    make_fleet(first, second).cancel(id)

    assert (first.cancelled, second.cancelled) == ([id], [id])
