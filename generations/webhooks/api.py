"""The API for the secret that signs the webhooks of a client's own key."""

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema
from pydantic import Field

from apikeys.authentication import BearerToken
from generations.webhooks.signature import WebhookSecret
from lockngen.database import retry
from lockngen.web.problems import problems

router = Router(auth=BearerToken(), tags=["webhooks"])


class WebhookSecretOut(Schema):
    secret: str = Field(description="Verifies the signatures of Standard Webhooks.", pattern="^whsec_[A-Za-z0-9+/]+=*$")
    previous_expires_at: datetime | None = Field(
        description="Until then webhooks are also signed with the previous secret; null without one."
    )


@router.get(
    "/secret",
    operation_id="getWebhookSecret",
    summary="Show the secret of webhooks",
    response={200: WebhookSecretOut, **problems(422)},
)
@retry.idempotent
def show(request: HttpRequest, response: HttpResponse):
    """The secret that signs the webhooks of the key. It is made on first need."""
    response["Cache-Control"] = "no-store"
    return WebhookSecret.objects.of(request.auth)


@router.post(
    "/secret/rotate",
    operation_id="rotateWebhookSecret",
    summary="Replace the secret of webhooks",
    response={200: WebhookSecretOut, **problems(422)},
)
def rotate(request: HttpRequest, response: HttpResponse):
    """For 24 hours webhooks are signed with the new and the previous secret."""
    response["Cache-Control"] = "no-store"
    secret = retry.idempotent(WebhookSecret.objects.of)(request.auth)
    secret.rotate()
    return secret
