import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin
from uuid import UUID, uuid5

import httpx

from generations.images import limits
from generations.renderers.base import (
    Model,
    Progress,
    RendererFailure,
    RendererUnavailable,
    RenderRequest,
    Unseeded,
)
from generations.renderers.http import diagnosis
from generations.renderers.http.address import Location, Product, parse
from generations.renderers.http.calls import Answer, Calls, Unreachable
from generations.renderers.openai import address, answers, fields, names
from generations.renderers.support import Support

logger = logging.getLogger(__name__)

ANSWERED_WITHIN, FETCHED_WITHIN = 3.0, 120.0  # seconds for the list of models, and for an image at a URL
CALL_TIMEOUT = httpx.Timeout(6, connect=3, read=None)  # seconds; the progress callback ends a render in time
MAX_LIST = 1024 * 1024  # bytes
MAX_ANSWER = limits.MAX_BYTES * 4 // 3 + 64 * 1024  # bytes of an image in base64, with what is around it
WEB = Product("a web server", "http", 80, "")
DESCRIPTION = "Rendered by a server with OpenAI's images API."
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)


class OpenAIRenderer:
    """The server has no queue and no history, so a render is one call, and an attempt that broke off is lost.

    The key of a call is made of the generation and the body. A server that supports it, as LockN Gen does, gives the
    same image to the next attempt.
    """

    def __init__(self, url: str, keys: str = ""):
        self.address = address.parse(url)
        self.authorization = address.authorization(keys, self.address.location)
        self.concurrency, self.defaults = self.address.concurrency, self.address.defaults
        self._refused: dict[str, frozenset[str]] = {}  # optional fields, by the model's name
        self._offer(names.chosen(self.address.models, ()))

    def support(self) -> dict[str, Support]:
        """Which models the server lists at the moment. Raises RendererFailure without an answer."""
        listed = self._list()
        if self.address.models:
            ids = names.chosen(self.address.models, listed)
        else:
            ids = names.by_name(listed) or self._ids or {names.of_host(self.address.location): None}
        # A model that is not listed any more is kept: its jobs wait until it is back.
        kept = {name: id for name, id in self._ids.items() if name not in ids}
        self._offer(dict([*ids.items(), *kept.items()][: answers.MAX_MODELS]))
        return {
            name: Support((f"the model {name}",) if listed and id not in listed else ())
            for name, id in self._ids.items()
        }

    def state(self) -> dict[str, Any]:
        return {"models": len(self._list())}

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        """Return the image as the server made it. A render ends when its progress callback raises."""
        progress(0)
        try:
            with self._calls(tick=lambda: progress(0)) as calls:
                answer, body = self._generate(calls, request)
                image = answers.image(answer, lambda url: self._fetch(calls, url, lambda: progress(0)))
        except RendererFailure as failure:
            logger.warning("Generation %s: %s %s", request.id, failure, failure.reason)
            raise
        progress(100)
        return image if "seed" in body or self.address.fields == "sdcpp" else Unseeded(image)

    def cancel(self, id: UUID) -> None:
        """Does nothing: a call that its progress callback ends closes its connection."""

    def _offer(self, ids: dict[str, str | None]) -> None:
        self._ids = ids
        self.models = {name: Model(name, DESCRIPTION, self.defaults, fields.LARGEST_SEED) for name in ids}

    def _generate(self, calls: Calls, request: RenderRequest) -> tuple[Answer, dict[str, Any]]:
        """The answer with an image, and the body of its request, which has only fields that the server accepts."""
        model, id = request.model, self._ids[request.model]
        without = self._refused.get(model, frozenset())
        body = fields.body(request, id, self.address.fields, without)
        answer = self._post(calls, body, request.id)
        while refused := fields.refused(answer, body):
            without |= refused
            body = fields.body(request, id, self.address.fields, without)
            answer = self._post(calls, body, request.id)
        answers.check(answer, model)
        if without != self._refused.get(model, frozenset()):  # only now it is certain that they were the cause
            refused_names = ", ".join(sorted(without))
            logger.warning("The model %s is rendered without %s, which its server refuses.", model, refused_names)
            self._refused[model] = without
        return answer, body

    def _post(self, calls: Calls, body: dict[str, Any], id: UUID) -> Answer:
        try:
            return calls.image(
                "POST",
                "/v1/images/generations",
                body,
                most=MAX_ANSWER,
                seconds=float("inf"),
                timeout=CALL_TIMEOUT,
                headers={"Idempotency-Key": str(uuid5(id, json.dumps(body, sort_keys=True)))},
            )
        except Unreachable as error:
            if isinstance(error.__cause__, NOT_SENT):
                raise RendererUnavailable(str(error), error.reason) from error
            raise RendererFailure("The connection to the renderer was lost.", error.reason) from error

    def _fetch(self, calls: Calls, url: str, tick: Callable[[], None]) -> bytes:
        """The image at a URL of the server itself or of one of `image_hosts`, which gets no authorization."""
        own = self.address.location
        url, location = _locate(own, url)
        is_own = (location.place, location.is_encrypted) == (own.place.partition("/")[0], own.is_encrypted)
        if not is_own and not {location.place, location.place.rpartition(":")[0]} & {*self.address.image_hosts}:
            where = f"its image is at {location.http}, which the option image_hosts doesn't name"
            raise RendererFailure("The renderer's image can't be fetched.", where)
        with ExitStack() as opened:
            if not is_own:
                calls = opened.enter_context(Calls(location, "", tick=tick))
            answer = calls.image("GET", url, seconds=FETCHED_WITHIN)
        if answer.status != 200:
            raise RendererFailure("The renderer's image can't be fetched.", answer.diagnosis)
        return answer.content

    def _list(self) -> list[str]:
        with self._calls(seconds=ANSWERED_WITHIN) as calls:
            return answers.model_ids(calls.call("GET", "/v1/models", most=MAX_LIST))

    def _calls(self, **limits) -> Calls:
        return Calls(self.address.location, self.authorization, **limits)


def _locate(own: Location, url: str) -> tuple[str, Location]:
    """The whole URL of an image, which may be relative, and its host and port. Raises RendererFailure."""
    try:
        url = urljoin(f"{own.http}/", url)
        location, _ = parse(url, WEB)
    except ValueError:
        raise diagnosis.invalid_response("its image has no valid URL") from None
    return url, replace(location, product=own.product, place=location.place.partition("/")[0])
