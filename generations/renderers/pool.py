"""The renderers of one process, and which of them makes a picture."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from threading import Condition
from typing import Any
from uuid import UUID

from generations.renderers.base import (
    DEFAULT_MODEL,
    WAITING,
    Model,
    ModelUnavailable,
    Progress,
    RendererAway,
    RendererFailure,
    RenderError,
    RenderRequest,
)
from generations.renderers.pooled_renderer import Member

TAKEN_WITHIN = 15.0  # seconds; what nobody takes meanwhile goes back to the queue, for whoever is free then
SUPPORT_WITHIN = 2.0  # seconds that a render waits to learn what a renderer has
ANSWERED_WITHIN = 1.0  # seconds, for people who wait
TICK = 0.25  # seconds between two looks


class Fleet:
    """Hands each picture to a renderer that has its model, has room and can be reached."""

    def __init__(self, members: Sequence[Member]):
        self.members = members
        self._has_changed = Condition()

    @cached_property
    def models(self) -> Mapping[str, Model]:
        """All that any of them has, by name. The first is what DEFAULT_MODEL means."""
        return {name: model for member in self.members for name, model in member.renderer.models.items()}

    @property
    def at_once(self) -> float:
        """How many renders it takes at once."""
        return sum(member.renderer.at_once for member in self.members)

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        """The picture. Raises RenderError, RendererFailure, or RendererAway where no renderer took it."""
        if request.model == DEFAULT_MODEL or request.seed is None:
            request = self.settle(request)
        while True:
            member = self._take(request, progress)
            try:
                return member.renderer.render(request, progress)
            except RendererFailure:
                member.rest()
                raise
            except RenderError:
                # A refusal for want of a checkpoint or a node is no error of the picture: another may have it.
                member.support.refresh(SUPPORT_WITHIN, now=True)
                if member.can_do(request.model):
                    raise
            finally:
                self._leave(member)

    def settle(self, request: RenderRequest) -> RenderRequest:
        """The request with the model that "default" means and with a seed that the model takes."""
        self.refresh(SUPPORT_WITHIN)
        model = self.resolve_model(request.model)
        if request.seed is not None or model not in self.models:
            return replace(request, model=model)
        return replace(request, model=model, seed=request.definite_seed % (self.largest_seed(model) + 1))

    def resolve_model(self, model: str) -> str:
        return next(iter(self.models)) if model == DEFAULT_MODEL else model

    def refresh(self, timeout: float = 0) -> None:
        """Renew what is known of the renderers' models, in the background after so many seconds."""
        deadline = time.monotonic() + timeout
        for member in self.members:
            member.support.refresh()
        for member in self.members:
            member.support.refresh(max(0, deadline - time.monotonic()))

    def largest_seed(self, model: str) -> int:
        known = [member.support.of(model).largest_seed for member in self._having(model)]
        return min([self.models[model].largest_seed, *known])

    def unavailable(self) -> dict[str, str]:
        """The models that no renderer can do at the moment, with the reason. One that can't be asked may do all."""
        return {model: reason for model in self.models if (reason := self.why_unavailable(model))}

    def why_unavailable(self, model: str) -> str | None:
        lacks = [member.support.of(model).missing for member in self._having(model)]
        return f"no renderer has {', '.join(min(lacks, key=len))}" if lacks and all(lacks) else None

    def _having(self, model: str) -> list[Member]:
        return [member for member in self.members if model in member.renderer.models]

    def cancel(self, id: UUID) -> None:
        """End what any of them may still do for a generation that nobody waits for."""
        for member in self.members:
            member.renderer.cancel(id)

    def states(self, timeout: float = ANSWERED_WITHIN) -> list[dict[str, Any]]:
        """Each renderer by its name, with its state. All of them are asked at once, and have so many seconds."""
        questions = [member.ask() for member in self.members]
        deadline = time.monotonic() + timeout
        for question in questions:
            question.join(max(0, deadline - time.monotonic()))
        return [
            {"renderer": member.name, **question.answer}
            for member, question in zip(self.members, questions, strict=True)
        ]

    def _take(self, request: RenderRequest, progress: Progress) -> Member:
        able = self._able(request.model)
        give_up_at = time.monotonic() + TAKEN_WITHIN
        chosen = self._holder(able, request) or self._free(able)
        while not (chosen and chosen.answers()):
            if chosen:
                self._leave(chosen)
            elif time.monotonic() > give_up_at:
                raise RendererAway("No renderer has room for the picture.")
            else:
                progress(WAITING)
                with self._has_changed:
                    self._has_changed.wait(TICK)
            able = self._able(request.model)
            chosen = self._free(able)
        return chosen

    def _able(self, model: str) -> list[Member]:
        if not (having := self._having(model)):
            raise RenderError("There is no such model any more.")
        if not (able := [member for member in having if member.can_do(model)]):
            raise ModelUnavailable(f"The model {model} can't be rendered: {self.why_unavailable(model)}.")
        return able

    def _holder(self, able: list[Member], request: RenderRequest) -> Member | None:
        """Who has what an earlier attempt left. It needs no room: that is taken up already."""
        if request.attempt == 1 or len(able) == 1:
            return None
        holder = next((member for member in able if member.holds(request.id)), None)
        return self._occupy(holder) if holder else None

    def _free(self, able: list[Member]) -> Member | None:
        with self._has_changed:
            free = [member for member in able if member.is_free]
            return self._occupy(min(free, key=lambda member: member.load)) if free else None

    def _occupy(self, member: Member) -> Member:
        with self._has_changed:
            member.rendering += 1
        return member

    def _leave(self, member: Member) -> None:
        with self._has_changed:
            member.rendering -= 1
            self._has_changed.notify_all()
