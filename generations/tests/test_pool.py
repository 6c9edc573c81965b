"""Which of several renderers makes a picture."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from generations.renderers import Model, RendererAway, RendererFailure, RenderError, pool
from generations.renderers.pool import Fleet
from generations.renderers.pooled_renderer import Member
from generations.tests.support.comfyui.renders import Stop


class Painter:
    """A renderer that says its name for a picture."""

    def __init__(self, name: str, *models: str, at_once: float = 1):
        self.name, self.at_once = name, at_once
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

    def holds(self, id: UUID) -> bool:
        return id in self.holding

    def state(self) -> str:
        if not self.is_up:
            raise OSError("no route")
        return "ok"


@pytest.fixture
def ask(make_request):
    """Have a fleet render a picture, and tell who did."""

    def ask(painters: Fleet, progress=lambda percent: None, **fields) -> str:
        return painters.render(make_request(**{"model": "m", **fields}), progress).decode()

    return ask


def make_fleet(*painters: Painter) -> Fleet:
    return Fleet([Member(f"sketch://{painter.name}", painter) for painter in painters])


def test_picture__goes_to_who_has_its_model(ask):
    painters = make_fleet(Painter("a", "small"), Painter("b", "small", "large"))

    assert [ask(painters, model=model) for model in ("small", "large")] == ["a", "b"]


def test_models__are_those_of_all_and_the_first_is_the_default(ask):
    first, second = Painter("a", "x", "y"), Painter("b", "z", "y")
    painters = make_fleet(first, second)

    ask(painters, model="default")

    assert list(painters.models) == ["x", "y", "z"]
    assert first.asked[0].model == "x"


def test_model__that_nobody_has_fails_the_picture(ask):
    with pytest.raises(RenderError, match="no such model"):
        ask(make_fleet(Painter("a")), model="gone")


def test_renderers__take_no_more_at_once_than_they_can(ask):
    one, two = Painter("one", at_once=1), Painter("two", at_once=2)
    painters = make_fleet(one, two)
    one.may_end.clear(), two.may_end.clear()

    with ThreadPoolExecutor(6) as threads:
        made = [threads.submit(ask, painters) for _ in range(6)]
        while one.rendering + two.rendering < 3:
            pass
        one.may_end.set(), two.may_end.set()

    assert painters.at_once == 3
    assert (one.most, two.most, len([future.result() for future in made])) == (1, 2, 6)


def test_one_that_is_down__is_passed_over_and_comes_back(ask, monkeypatch):
    monkeypatch.setattr("generations.renderers.pooled_renderer.FIRST_PAUSE", 0.2)
    down, up = Painter("down"), Painter("up")
    down.is_up = False
    painters = make_fleet(down, up)
    assert ask(painters) == "up"

    down.is_up, up.is_up = True, False

    assert ask(painters) == "down"


def test_one_that_broke_off__is_the_last_choice_of_the_next_attempt(ask):
    broken, other = Painter("broken"), Painter("other")
    broken.failure = RendererFailure("The renderer ran out of memory.")
    painters = make_fleet(broken, other)

    with pytest.raises(RendererFailure, match="memory"):
        ask(painters)

    assert ask(painters, attempt=2) == "other"


def test_one_that_broke_off__is_taken_where_there_is_no_other(ask):
    broken = Painter("broken")
    broken.failure = RendererFailure("The renderer ran out of memory.")
    painters = make_fleet(broken)
    with pytest.raises(RendererFailure):
        ask(painters)
    broken.failure = None

    assert ask(painters) == "broken"


def test_next_attempt__goes_on_where_the_last_one_left_something(ask, make_request):
    first, second = Painter("first"), Painter("second")
    id = make_request().id
    second.holding.add(id)
    painters = make_fleet(first, second)

    assert ask(painters, id=id, attempt=2) == "second"
    assert ask(painters, id=id) == "first"


def test_next_attempt__goes_elsewhere_where_that_is_down(ask, make_request):
    first, second = Painter("first"), Painter("second")
    id = make_request().id
    second.holding.add(id)
    second.is_up = False

    assert ask(make_fleet(first, second), id=id, attempt=2) == "first"


@pytest.mark.parametrize("is_up", [True, False], ids=["full", "down"])
def test_picture_that_nobody_takes__goes_back_to_the_queue(ask, monkeypatch, is_up):
    monkeypatch.setattr(pool, "TAKEN_WITHIN", 0.1)
    painter = Painter("a")
    painter.is_up = is_up
    painters = make_fleet(painter)
    painters.members[0].rendering = int(is_up)

    with pytest.raises(RendererAway):
        ask(painters)


def test_picture_that_waits__can_be_called_off(ask):
    painter = Painter("a")
    painters = make_fleet(painter)
    painters.members[0].rendering = 1

    def stop(percent):
        raise Stop

    with pytest.raises(Stop):
        ask(painters, stop)

    assert painters.members[0].rendering == 1


def test_room__is_given_back_whatever_happens(ask):
    painter = Painter("a")
    painter.failure = RenderError("No.")
    painters = make_fleet(painter)

    for _ in range(3):
        with pytest.raises(RenderError, match="No"):
            ask(painters)

    assert painters.members[0].rendering == 0


def test_cancel__reaches_all(make_request):
    first, second = Painter("first"), Painter("second")
    id = make_request().id

    make_fleet(first, second).cancel(id)

    assert (first.cancelled, second.cancelled) == ([id], [id])
