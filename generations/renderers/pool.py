"""Selects a renderer of this process for each request."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Condition
from typing import Any
from uuid import UUID

from generations.renderers.base import (
    DEFAULT_MODEL,
    WAITING,
    Model,
    ModelMissing,
    ModelUnavailable,
    Progress,
    RendererFailure,
    RenderError,
    RendererUnavailable,
    RenderRequest,
)
from generations.renderers.pooled_renderer import HealthProbe, PooledRenderer

ACQUIRE_TIMEOUT = 15.0  # seconds; then the job is requeued for any free worker
SUPPORT_WITHIN = 2.0  # seconds that a render waits for the renderers' models
STATES_TIMEOUT = 1.0  # seconds; a person is waiting
TICK = 0.25  # seconds between two checks


class RendererPool:
    """Gives each request to a renderer that has its model, has a free slot and is reachable."""

    def __init__(self, renderers: Sequence[PooledRenderer]):
        self.renderers = renderers
        self._has_changed = Condition()

    @property
    def models(self) -> Mapping[str, Model]:
        """The models of all renderers, by name. The first is the default."""
        return {name: model for pooled in self.renderers for name, model in pooled.renderer.models.items()}

    @property
    def has_all_models(self) -> bool:
        """Whether each renderer whose server lists its models has had an answer."""
        return all(pooled.renderer.models for pooled in self.renderers)

    @property
    def concurrency(self) -> float:
        return sum(pooled.renderer.concurrency for pooled in self.renderers)

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        """The image. Raises RenderError, RendererFailure, or RendererUnavailable if no renderer is free."""
        if request.model == DEFAULT_MODEL or request.seed is None:
            request = self.settle(request)
        while True:
            pooled = self._acquire(request, progress)
            try:
                return pooled.renderer.render(request, progress)
            except ModelMissing as failure:
                pooled.exclude(request.model, failure)
            except RendererFailure as failure:
                pooled.cool_down(failure)
                raise
            except RenderError:
                # Another renderer may have a checkpoint or a node that was missing here.
                pooled.support.refresh(SUPPORT_WITHIN, now=True)
                if pooled.supports(request.model):
                    raise
            finally:
                self._release(pooled)

    def settle(self, request: RenderRequest) -> RenderRequest:
        """The request with a resolved model and a seed that the model accepts. Raises RendererUnavailable."""
        self.refresh(SUPPORT_WITHIN)
        model = self.resolve_model(request.model)
        if model == DEFAULT_MODEL:
            raise RendererUnavailable("No renderer has listed its models yet.")
        if request.seed is not None or model not in self.models:
            return replace(request, model=model)
        return replace(request, model=model, seed=request.definite_seed % (self.largest_seed(model) + 1))

    def resolve_model(self, model: str) -> str:
        """The model's name; DEFAULT_MODEL is the first model, once a model is known."""
        return next(iter(self.models), model) if model == DEFAULT_MODEL else model

    def model(self, name: str) -> Model:
        model = self.resolve_model(name)
        return self.models.get(model, Model(model))

    def refresh(self, timeout: float = 0) -> None:
        """Refresh the known models in the background, waiting at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for pooled in self.renderers:
            pooled.support.refresh()
        for pooled in self.renderers:
            pooled.support.refresh(max(0, deadline - time.monotonic()))

    def largest_seed(self, model: str) -> int:
        known = [pooled.support.of(model).largest_seed for pooled in self._having(model)]
        return min([self.model(model).largest_seed, *known])

    def unavailable(self) -> dict[str, str]:
        """The models that no renderer supports at the moment, with the reason. Without an answer, all are supported."""
        return {model: reason for model in self.models if (reason := self.why_unavailable(model))}

    def available(self) -> dict[str, Model]:
        """The models that can be rendered at the moment, by name."""
        unavailable = self.unavailable()
        return {name: model for name, model in self.models.items() if name not in unavailable}

    def why_unavailable(self, model: str) -> str | None:
        lacks = [pooled.support.of(model).missing for pooled in self._having(model)]
        return f"no renderer has {', '.join(min(lacks, key=len))}" if lacks and all(lacks) else None

    def _having(self, model: str) -> list[PooledRenderer]:
        return [pooled for pooled in self.renderers if model in pooled.renderer.models]

    def cancel(self, id: UUID) -> None:
        """Cancel the renders of a generation that has ended, on all renderers."""
        for pooled in self.renderers:
            pooled.renderer.cancel(id)

    def states(self, timeout: float = STATES_TIMEOUT) -> list[dict[str, Any]]:
        """Name and state of each renderer, probed concurrently within `timeout` seconds."""
        probes = [HealthProbe(pooled.renderer) for pooled in self.renderers]
        deadline = time.monotonic() + timeout
        for probe in probes:
            probe.join(max(0, deadline - time.monotonic()))
        return [{"renderer": pooled.name, **probe.result} for pooled, probe in zip(self.renderers, probes, strict=True)]

    def _acquire(self, request: RenderRequest, progress: Progress) -> PooledRenderer:
        candidates = self._able(request.model)
        deadline = time.monotonic() + ACQUIRE_TIMEOUT
        chosen = self._with_earlier_attempt(candidates, request) or self._least_loaded(candidates)
        while not (chosen and chosen.is_reachable()):
            if chosen:
                self._release(chosen)
            elif time.monotonic() > deadline:
                raise RendererUnavailable("No renderer is free or reachable.")
            else:
                progress(WAITING)
                with self._has_changed:
                    self._has_changed.wait(TICK)
            candidates = self._able(request.model)
            chosen = self._least_loaded(candidates)
        return chosen

    def _able(self, model: str) -> list[PooledRenderer]:
        if not (having := self._having(model)):
            if not self.has_all_models:
                raise RendererUnavailable("A renderer has not listed its models yet.")
            raise RenderError("There is no such model any more.")
        if not (candidates := [pooled for pooled in having if pooled.supports(model)]):
            raise ModelUnavailable(f"The model {model} can't be rendered: {self.why_unavailable(model)}.")
        return candidates

    def _with_earlier_attempt(self, candidates: list[PooledRenderer], request: RenderRequest) -> PooledRenderer | None:
        """The renderer that can resume an earlier attempt. It needs no free slot: the earlier render holds one."""
        if request.attempt == 1 or len(candidates) == 1:
            return None
        chosen = next((pooled for pooled in candidates if pooled.can_resume(request.id)), None)
        return self._count_render(chosen) if chosen else None

    def _least_loaded(self, candidates: list[PooledRenderer]) -> PooledRenderer | None:
        with self._has_changed:
            free = [pooled for pooled in candidates if pooled.is_free]
            return self._count_render(min(free, key=lambda pooled: pooled.load)) if free else None

    def _count_render(self, pooled: PooledRenderer) -> PooledRenderer:
        with self._has_changed:
            pooled.rendering += 1
        return pooled

    def _release(self, pooled: PooledRenderer) -> None:
        with self._has_changed:
            pooled.rendering -= 1
            self._has_changed.notify_all()
