"""The API for the secret that signs the webhooks of a client's own key."""

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema
from pydantic import Field

from apikeys.authentication import BearerToken
from generations.webhooks.signature import WebhookSecret
from lockngen.database import retry
from lockngen.web.problems import problems

# What LockN Gen sends, for the OpenAPI document.
EVENT = {
    "type": "object",
    "required": ["type", "timestamp", "data"],
    "properties": {
        "type": {"type": "string", "enum": ["generation.start", "generation.output", "generation.completed"]},
        "timestamp": {"type": "string", "format": "date-time", "description": "When the event happened."},
        "data": {"$ref": "#/components/schemas/GenerationOut"},
    },
}
HEADERS = {
    "webhook-id": "The event's id, which is the same in each attempt.",
    "webhook-timestamp": "Seconds since 1970.",
    "webhook-signature": "Signatures of Standard Webhooks, separated by spaces.",
}
SENT = {
    "generation": {
        "post": {
            "operationId": "receiveEvent",
            "summary": "An event of a generation",
            "description": "Sent to the `webhook` of the call that created the generation, until it is answered.",
            "tags": ["webhooks"],
            "parameters": [
                {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
                for name, text in HEADERS.items()
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": EVENT}}},
            "responses": {
                "2XX": {"description": "The event was received."},
                "410": {"description": "It must not be sent again."},
                "default": {"description": "It is sent again later."},
            },
        }
    }
}

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
    """The secret that signs the webhooks of the key. It is created when it is first needed."""
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
