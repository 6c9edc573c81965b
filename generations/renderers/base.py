"""The interface of all renderers: from a request to the bytes of an image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from lockngen.plain import plain

DEFAULT_MODEL = "default"  # an alias of the first model
MAX_MODEL_NAME = 33  # characters: "procrastinate_queue_v1#render-" + name is a channel of PostgreSQL, at most 63
MAX_SEED = 2**53 - 1  # the largest integer that JavaScript represents exactly

Progress = Callable[[int], None]
"""Called with the percentage, 0 to 100. It raises to stop the render, and renderers let the exception pass."""


class Percent(int):
    """The percentage, with the current step, the number of steps and the partially rendered image.

    Details that aren't given are those of the percentage, if it is a Percent too.
    """

    step: int | None = None
    steps: int | None = None
    preview: bytes | None = None
    """A PNG, JPEG or WebP."""

    def __new__(cls, percent: int, **details) -> "Percent":
        self = super().__new__(cls, percent)
        self.__dict__.update(getattr(percent, "__dict__", {}), **details)
        return self


class Waiting(int):
    """The percentage of a render that has not started: RENDER_TIMEOUT counts from the start."""


WAITING = Waiting(0)


class RenderError(Exception):
    """The image can't be rendered. The message is for the client: short, without host names or paths."""

    def __init__(self, message: str):
        super().__init__(plain(message))


class RendererFailure(Exception):
    """The render failed, and another attempt may succeed.

    The message is for the client: short, without host names or paths. The reason is for the operator.
    """

    def __init__(self, message: str, reason: object = ""):
        super().__init__(plain(message))
        self.reason = plain(reason or message)


class RendererUnavailable(RendererFailure):
    """No renderer accepted the request, for a reason unrelated to it. The caller retries."""

    def __init__(self, message: str, reason: object = "", retry_after: float = 0):
        super().__init__(message, reason)
        self.retry_after = retry_after
        """Seconds for which the renderer accepts no request, if it has named them."""


class ModelUnavailable(RendererUnavailable):
    """No renderer of this worker has the files or nodes of the model. The job is requeued for another worker."""


class ModelMissing(RendererFailure):
    """This renderer can't render the model; another may. The message is what it lacks, such as "the model flux"."""


class Unseeded(bytes):
    """An image whose seed is unknown, as the renderer doesn't accept one."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that clients choose by name, and its default parameters."""

    name: str
    description: str = ""
    defaults: Mapping[str, int | float] = field(default_factory=dict)
    largest_seed: int = MAX_SEED


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One image to render. Sizes are in pixels. Without a seed, a renderer derives one from the id."""

    id: UUID
    prompt: str
    negative_prompt: str
    model: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int | None
    attempt: int = 1  # a later attempt may resume an earlier one

    @property
    def definite_seed(self) -> int:
        """The seed, or one derived from the id, so that all attempts render the same image."""
        return int.from_bytes(sha256(self.id.bytes).digest()[:8]) & MAX_SEED if self.seed is None else self.seed


class Renderer(Protocol):
    """Renders images. Three methods are optional:

    - `state()`: its health, within a second: a word, or a dict with a word as "state" and further facts for the
      operator. Raises if it is unhealthy.
    - `can_resume(id)`: whether it holds the result or the running render of an earlier attempt.
    - `support()`: what is missing at the moment for each of its models, as `support.Support` by name. May take seconds.
    """

    models: Mapping[str, Model]
    """By name. The first is the default. Empty as long as a renderer whose server lists them has had no answer."""

    concurrency: float
    """How many concurrent renders it accepts from one process."""

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        """Return the image by one of its models as a PNG, JPEG or WebP; Unseeded if the seed was not used.

        Raises RenderError, RendererFailure or ModelMissing.
        """

    def cancel(self, id: UUID) -> None:
        """Cancel the render of a generation that has ended. Raises nothing."""
