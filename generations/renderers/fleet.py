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
    Progress,
    RendererAway,
    RendererFailure,
    RenderError,
    RenderRequest,
)
from generations.renderers.member import Member

TAKEN_WITHIN = 15.0  # seconds; what nobody takes meanwhile goes back to the queue, for whoever is free then
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
        if request.model == DEFAULT_MODEL:
            request = replace(request, model=next(iter(self.models)))
        member = self._take(request, progress)
        try:
            return member.renderer.render(request, progress)
        except RendererFailure:
            member.rest()
            raise
        finally:
            self._leave(member)

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
        able = [member for member in self.members if request.model in member.renderer.models]
        if not able:
            raise RenderError("There is no such model any more.")
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
            chosen = self._free(able)
        return chosen

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
