"""The create call of every interface: it stores generations, or finds those that an earlier call has stored."""

import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils.translation import gettext as _

from generations.models import Generation
from generations.querysets import QueueFull
from generations.submission import BASE_URL_LENGTH, KEY_LENGTH, AlreadySubmitted, KeyReused, Submission
from generations.webhooks import addresses
from lockngen.database import retry
from lockngen.web import bodies, links
from lockngen.web.problems import Problem, invalid

QUEUE_RETRY_AFTER = 5  # seconds; about as long as one render takes
KEY = re.compile(rf"[!-~]{{1,{KEY_LENGTH}}}")


class Created(NamedTuple):
    generations: list[Generation]
    is_replayed: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {"Idempotent-Replayed": "true"} if self.is_replayed else {}


class Webhook(NamedTuple):
    """Where the events of a call's generations are sent, and by which interface's payload."""

    url: str
    events: list[str]
    interface: str


def create(
    request: HttpRequest,
    parameters: Callable[[], list[dict[str, Any]]],
    body: Any = None,
    *,
    key: str | None = None,
    webhook: Webhook | None = None,
) -> Created:
    """Store the generations of a call: all or none, and only once if the call is repeated. Raises Problem.

    `parameters` returns those of each generation. It isn't called for a repeated call, as it may raise an error that
    the first call didn't get, for instance because a model is gone. `body` is what the request contains, if that isn't
    JSON, and `key` the Idempotency-Key, if that isn't in the header.
    """
    call = _call(request, body, key)
    if call and (earlier := _earlier(call)):
        return earlier
    each = parameters()
    try:
        if call is None and webhook is None and len(each) == 1:
            return Created([Generation.objects.submit(api_key=request.auth, **each[0])])
        call = call or Submission(api_key=request.auth, body_sha256=_digest(request, body))
        if webhook:
            _set_webhook(call, webhook, links.base(request))
        return Created(Generation.objects.submit_call(call, each))
    except AlreadySubmitted:
        return _earlier(call)
    except QueueFull as error:
        remedy = _("Wait until one ends, or cancel one.")
        raise Problem(
            429,
            f"{error} {remedy}",
            type="urn:lockngen:problem:queue-full",
            headers={"Retry-After": str(QUEUE_RETRY_AFTER)},
        ) from None


def _call(request: HttpRequest, body: Any, key: str | None) -> Submission | None:
    """The call if it can be recognised when it is repeated: by its key, or by the counter that OpenAI's SDKs send."""
    key = key or request.headers.get("Idempotency-Key")
    retries = request.headers.get("X-Stainless-Retry-Count")
    if key is None and not (retries and retries.isascii() and retries.isdigit()):
        return None
    if key is not None and not KEY.fullmatch(key):
        raise invalid("Idempotency-Key", f"it must have 1 to {KEY_LENGTH} visible ASCII characters")
    call = Submission(api_key=request.auth, key=key, body_sha256=_digest(request, body))
    call.is_retry = key is None and int(retries) > 0
    return call


def _set_webhook(call: Submission, webhook: Webhook, base_url: str) -> None:
    """Raises Problem if its address isn't allowed."""
    try:
        addresses.check(webhook.url)
    except ValueError as error:
        raise invalid("webhook", str(error)) from None
    call.webhook, call.webhook_events, call.interface = webhook
    call.base_url = base_url[:BASE_URL_LENGTH]


def _digest(request: HttpRequest, body: Any) -> str:
    """The SHA-256 of the address and the body, in which the order of JSON's fields makes no difference."""
    if body is None:
        body = bodies.parse(request.body, request.content_type)
    return sha256(f"{request.path_info}\n{json.dumps(body, sort_keys=True)}".encode()).hexdigest()


@retry.idempotent
def _earlier(call: Submission) -> Created | None:
    try:
        earlier = call.find_earlier()
    except KeyReused:
        raise Problem(
            422,
            "Idempotency-Key: an earlier call with this key had another body. Send a new key with a new body.",
            type="urn:lockngen:problem:idempotency-key-reused",
        ) from None
    # Deleted ones as well: the call was made, whatever happened to its generations since.
    return earlier and Created(list(Generation.all_objects.filter(submission=earlier).order_by("id")), is_replayed=True)
