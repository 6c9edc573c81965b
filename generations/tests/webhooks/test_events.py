"""Which webhooks are recorded: a row and its job for each event, in the transaction that changes the status."""

import json

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django.models import ProcrastinateJob

from generations import querysets
from generations.models import Generation
from generations.scheduling.queues import WEBHOOKS
from generations.status import Status
from generations.submission import Submission
from generations.tests.support.calls import URL, assert_problem, post
from generations.webhooks.models import WebhookDelivery
from lockngen.tests.support.web import Caller

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def make(make_webhook_generation):
    return make_webhook_generation


def recorded() -> list[str]:
    """The recorded events. Each has one job."""
    deliveries = list(WebhookDelivery.objects.order_by("created_at", "-event"))
    jobs = ProcrastinateJob.objects.filter(queue_name=WEBHOOKS, status="todo")
    assert {job.args["delivery_id"] for job in jobs} == {str(delivery.pk) for delivery in deliveries}
    assert {job.queueing_lock for job in jobs} == {str(delivery.pk) for delivery in deliveries}
    return [delivery.event for delivery in deliveries]


def test_completion__is_recorded_with_its_job(make):
    generation = make()

    generation.complete(generation.start(), image_path="a.png")

    assert recorded() == ["start", "output", "completed"]


def test_failure__is_recorded(make):
    generation = make()

    generation.fail(generation.start(), "It broke.")

    assert recorded() == ["start", "completed"]


@pytest.mark.parametrize(
    "change",
    [
        lambda generation: generation.cancel(),
        lambda generation: generation.delete(),
        lambda generation: Generation.objects.all().cancel(),
        lambda generation: Generation.objects.all().delete(),
        lambda generation: generation.api_key.revoke(cancel_pending=True),
    ],
    ids=["cancel", "delete", "cancel many", "delete many", "revoke the key"],
)
def test_cancellation__is_recorded_however_it_happens(make, change):
    change(make())

    assert recorded() == ["completed"]


@pytest.mark.parametrize("change", ["cancel", "delete"])
def test_change_of_many__is_made_in_short_statements_and_recorded_for_each(make, make_generation, monkeypatch, change):
    monkeypatch.setattr(querysets, "CHANGED_AT_ONCE", 2)
    generations = [make() for _ in range(4)]
    make_generation()

    with CaptureQueriesContext(connection) as captured:
        getattr(Generation.objects.all(), change)()

    assert sum(query["sql"].startswith("UPDATE") for query in captured) == 3
    assert set(Generation.all_objects.values_list("status", flat=True)) == {Status.CANCELLED}
    found = WebhookDelivery.objects.values_list("generation", "event")
    assert set(found) == {(generation.pk, "completed") for generation in generations}
    assert len(recorded()) == 4


def test_start__is_recorded_once_whatever_is_repeated(make):
    generation = make()

    attempt = generation.start()
    generation.start()
    generation.requeue(attempt + 1, counts_as_attempt=True)
    generation.start()

    assert recorded() == ["start"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [(["completed"], ["completed"]), (["output", "logs"], ["output"]), (["start"], ["start"]), (["logs"], [])],
)
def test_filter__selects_the_events(make, chosen, expected):
    generation = make(webhook_events=chosen)

    generation.complete(generation.start(), image_path="a.png")

    assert recorded() == expected


def test_rollback__leaves_neither_event_nor_job(make):
    generation = make()

    with transaction.atomic():
        generation.start()
        transaction.set_rollback(True)

    assert recorded() == []
    assert ProcrastinateJob.objects.filter(queue_name=WEBHOOKS).count() == 0


def test_transition__that_does_not_apply_records_nothing(make):
    generation = make()
    attempt = generation.start()
    generation.cancel()
    before = recorded()

    assert not generation.complete(attempt, image_path="a.png")

    assert recorded() == before == ["start", "completed"]


def test_generation__without_a_webhook_records_nothing(make, make_generation, key):
    submission = Submission.objects.create(api_key=key, body_sha256="a" * 64)
    for generation in (make_generation(), make_generation(submission=submission)):
        generation.complete(generation.start(), image_path="a.png")

    assert recorded() == []


def test_trigger__is_not_called_for_generations_without_a_submission(make, make_generation):
    def calls(generation: Generation) -> int:
        statement = "UPDATE generations_generation SET status = 1, attempts = 1 WHERE id = %s"
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", [generation.pk])
            ((plan,),) = cursor.fetchone()
        return sum(trigger["Calls"] for trigger in plan["Triggers"] if "webhook" in trigger["Trigger Name"])

    assert (calls(make_generation()), calls(make())) == (0, 1)


def test_restore__records_nothing(make):
    generation = make()
    generation.delete()
    before = recorded()

    generation.restore()

    assert recorded() == before


def test_hard_delete__takes_the_deliveries_along(make):
    generation = make()
    generation.cancel()

    generation.hard_delete()

    assert WebhookDelivery.objects.count() == Submission.objects.count() == 0


def test_create__stores_the_webhook(api):
    answer = post(api, {"prompt": "a cat", "webhook": "https://example.org/hook?token=1"})

    assert answer.status_code == 201, answer.content
    submission = Generation.objects.get(pk=answer.json()["id"]).submission
    assert (submission.webhook, submission.webhook_events) == ("https://example.org/hook?token=1", ["completed"])
    assert (submission.interface, submission.base_url) == ("native", "http://testserver")


def test_create__on_the_fast_path_stores_the_webhook(web, key):
    with Caller(web.port, key.token) as caller:
        answer = caller.ask(URL, '{"prompt": "a cat", "webhook": "https://example.org"}')

    submission = Generation.objects.get(pk=json.loads(answer.body)["id"]).submission
    assert (answer.status, submission.webhook) == (201, "https://example.org")
    assert submission.base_url == f"http://127.0.0.1:{web.port}"


def test_create__stores_the_filter_for_all_of_its_generations(api):
    body = {"prompt": "a cat", "n": 3, "webhook": "https://example.org", "webhook_events_filter": ["start", "output"]}

    answer = post(api, body)

    generations = Generation.objects.filter(pk__in=[each["id"] for each in answer.json()["items"]])
    (submission,) = {generation.submission for generation in generations}
    assert submission.webhook_events == ["start", "output"]


def test_create__repeated_with_its_key_returns_the_first(api, settings):
    body = {"prompt": "a cat", "webhook": "http://127.0.0.1:9/"}
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    first = post(api, body, headers={"Idempotency-Key": "a"})
    settings.WEBHOOK_ALLOWED_HOSTS = []

    second = post(api, body, headers={"Idempotency-Key": "a"})

    assert (second.json()["id"], second["Idempotent-Replayed"]) == (first.json()["id"], "true")


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org", "example.org/hook", "https://", "https://a b", "http://a:0/", "http://a:65536/", ""),
        *("http://%31/", "https://example.org/\x00", "https://exa\tmple.org", f"https://example.org/{'a' * 2000}"),
        *("http://[fe80::1%25eth0]/", "http://134744072/", "http://8.8.8/", "http://0x8.8.8.8/", "http://8.8.8.8./"),
    ],
)
def test_create__refuses_a_webhook_that_is_no_address(api, url):
    answer = post(api, {"prompt": "a cat", "webhook": url})

    assert_problem(answer, 422, "webhook: ")
    assert answer.json()["errors"][0]["field"] == "webhook"
    assert Generation.objects.count() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"webhook_events_filter": ["completed"]},
        {"webhook": "https://example.org", "webhook_events_filter": []},
        {"webhook": "https://example.org", "webhook_events_filter": ["ended"]},
        {"webhook": "https://example.org", "webhook_events_filter": "completed"},
        {"webhook": ["https://example.org"]},
    ],
)
def test_create__refuses_a_wrong_filter(api, fields):
    assert_problem(post(api, {"prompt": "a cat", **fields}), 422, "webhook")


def test_status__of_the_trigger_is_that_of_the_model():
    """The trigger's function in the migration has the numbers."""
    assert [Status.PENDING, Status.PROCESSING, Status.COMPLETED] == [0, 1, 2]
