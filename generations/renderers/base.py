"""What every renderer is: a picture described by numbers and words goes in, PNG bytes come out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

LARGEST_SEED = 2**53 - 1  # the largest whole number that JavaScript holds exactly

Progress = Callable[[int], None]
"""Called with the percentage done, 0 to 100. It raises where the render has to stop: let that pass."""


class RenderError(Exception):
    """The picture can't be rendered. The message is for the client: short, without host names or paths."""


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One picture to render. Sizes are in pixels; a renderer that is handed no seed derives one from the id."""

    id: UUID
    prompt: str
    negative_prompt: str
    model: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int | None


class Renderer(Protocol):
    """What makes pictures. It may also have `state()`, which tells within a second how it is: as a word, or as a dict
    of a word as "state" and whatever else an operator wants to know. Where it is not in order, it raises.
    """

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        """Return the picture as PNG bytes of the size asked for, or raise RenderError."""
