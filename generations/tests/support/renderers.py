"""Renderers for tests of the pool."""

import threading
from uuid import UUID

from generations.renderers.base import Model
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer


class FakeRenderer:
    """A renderer whose image is its name."""

    def __init__(self, name: str, *models: str, concurrency: float = 1):
        self.name, self.concurrency = name, concurrency
        self.models = {model: Model(model) for model in models or ("m",)}
        self.is_up, self.failure = True, None
        self.resumable, self.cancelled, self.requests, self.max_rendering, self.rendering = set(), [], [], 0, 0
        self.may_end = threading.Event()
        self.may_end.set()

    def render(self, request, progress) -> bytes:
        self.requests.append(request)
        self.rendering += 1
        self.max_rendering = max(self.max_rendering, self.rendering)
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
        return id in self.resumable

    def state(self) -> str:
        if not self.is_up:
            raise OSError("no route")
        return "ok"


def make_pool(*fakes: FakeRenderer) -> RendererPool:
    return RendererPool([PooledRenderer(f"sketch://{renderer.name}", renderer) for renderer in fakes])
