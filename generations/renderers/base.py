"""What every renderer is: a picture described by numbers and words goes in, the bytes of an image come out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from lockngen.plain import plain

DEFAULT_MODEL = "default"  # the first there is, when nobody chooses
LONGEST_MODEL_NAME = 33  # characters: with "procrastinate_queue_v1#render-" it's a channel of PostgreSQL, of 63 at most
LARGEST_SEED = 2**53 - 1  # the largest whole number that JavaScript holds exactly

Progress = Callable[[int], None]
"""Called with the percentage done, 0 to 100. It raises where the render has to stop: let that pass."""


class Percent(int):
    """The percentage done, of a renderer that counts steps and tells how many of how many are."""

    step: int
    steps: int

    def __new__(cls, percent: int, step: int, steps: int) -> "Percent":
        self = super().__new__(cls, percent)
        self.step, self.steps = step, steps
        return self


class Waiting(int):
    """The percentage of a picture that no renderer has begun: RENDER_TIMEOUT counts from its begin."""


WAITING = Waiting(0)


class RenderError(Exception):
    """The picture can't be rendered. The message is for the client: short, without host names or paths."""

    def __init__(self, message: str):
        super().__init__(plain(message))


class RendererFailure(Exception):
    """The renderer broke off, and another attempt may succeed.

    The message is for the client: short, without host names or paths. The reason is for the operator.
    """

    def __init__(self, message: str, reason: object = ""):
        super().__init__(plain(message))
        self.reason = plain(reason or message)


class RendererUnavailable(RendererFailure):
    """No renderer took the picture, which says nothing about it: whoever asked comes again."""


class ModelUnavailable(RendererUnavailable):
    """No renderer here has what the model needs. The queue keeps the picture for one that has."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a client chooses by name, and the values that go with it where the client names none."""

    name: str
    description: str = ""
    defaults: Mapping[str, int | float] = field(default_factory=dict)
    largest_seed: int = LARGEST_SEED


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
    attempt: int = 1  # an earlier one may have left something that this one can go on with

    @property
    def definite_seed(self) -> int:
        """Without a seed the id makes one, so that another attempt renders the same picture."""
        return int.from_bytes(sha256(self.id.bytes).digest()[:8]) & LARGEST_SEED if self.seed is None else self.seed


class Renderer(Protocol):
    """What makes pictures. Three optional methods:

    - `state()`, within a second, how it is: as a word, or as a dict of a word as "state" and whatever else an operator
      wants to know. Where it is not in order, it raises.
    - `holds(id)`, whether an earlier attempt at a generation left something there to go on with.
    - `support()`, what it lacks at the moment for each of its models, as `support.Support` by name. May take seconds.
    """

    models: Mapping[str, Model]
    """By name. The first is the default."""

    concurrency: float
    """How many renders it takes at once from one process."""

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        """Return the picture of one of its models as a PNG, JPEG or WebP, or raise RenderError or RendererFailure."""

    def cancel(self, id: UUID) -> None:
        """End what is still rendered for a generation that nobody waits for. Raises nothing."""
