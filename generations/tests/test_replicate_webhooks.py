"""Webhooks of predictions."""

import pytest

from generations.api.presenters import Viewer
from generations.dialects.replicate import predictions
from generations.models import Generation
from generations.tests.support.replicate import HOOK, assert_error, create
from generations.webhooks.models import WebhookDelivery
from generations.webhooks.signature import WebhookSecret


@pytest.mark.parametrize(
    ("fields", "events"),
    [
        ({"webhook": HOOK}, ["output", "completed"]),
        ({"webhook": HOOK, "webhook_events_filter": []}, ["output", "completed"]),
        ({"webhook": HOOK, "webhook_events_filter": ["start", "logs"]}, ["start", "logs"]),
        ({"webhook_completed": HOOK}, ["completed"]),
    ],
)
def test_create__stores_its_webhook(api, fields, events):
    generation = Generation.objects.get(pk=create(api, body=fields).json()["id"])

    assert (generation.submission.webhook, generation.submission.webhook_events) == (HOOK, events)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"webhook": "example.org"}, "webhook"),
        ({"webhook": "http://127.0.0.1/"}, "webhook"),
        ({"webhook": HOOK, "webhook_events_filter": ["end"]}, "webhook_events_filter.0"),
        ({"webhook_events_filter": ["completed"]}, "webhook_events_filter"),
    ],
)
def test_create__refuses_an_invalid_webhook(api, fields, field):
    error = assert_error(create(api, body=fields), 422, "Unprocessable Entity", field)

    assert error["invalid_fields"][0]["field"] == field


@pytest.mark.parametrize(
    ("statuses", "event", "senders"),
    [
        (["pending"], "start", [0]),
        (["processing", "processing"], "start", [0]),
        (["completed", "completed"], "output", [0, 1]),
        (["completed", "processing"], "completed", []),
        (["completed", "completed", "failed"], "completed", [2]),
        (["cancelled"], "completed", [0]),
    ],
)
def test_webhook__has_the_prediction_once_for_its_start_and_end(make_prediction, key, statuses, event, senders):
    made = make_prediction(*statuses)
    viewer = Viewer("https://images.example.org", key.pk)

    sent = [predictions.as_webhook(WebhookDelivery(event=event), generation, viewer) for generation in made]

    assert [number for number, shown in enumerate(sent) if shown] == senders
    assert {shown["id"] for shown in sent if shown} <= {str(made[0].pk)}


def test_webhook__has_signed_addresses_and_no_progress_of_reports(make_prediction, key):
    (generation,) = make_prediction("completed")

    shown = predictions.as_webhook(
        WebhookDelivery(event="completed"), generation, Viewer("http://images.example.org", key.pk)
    )

    assert shown["output"][0].startswith("http://images.example.org/api/v1/generations/")
    assert (shown["status"], shown["logs"]) == ("succeeded", "100%|██████████| 100/100")


def test_webhook_secret__is_that_of_the_key(api, key):
    answer = api.get("/v1/webhooks/default/secret")

    assert answer.json() == {"key": WebhookSecret.objects.of(key).secret}
    assert answer["Cache-Control"] == "no-store"
