"""Attempts: their number, their order, who makes them, and what is lost if a worker is killed."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from procrastinate.contrib.django.models import ProcrastinateJob

from generations.models import Generation
from generations.status import Status
from generations.tests.support.deliveries import run, run_at_once
from generations.tests.support.receiver import silence
from generations.webhooks import delivery as deliveries
from generations.webhooks import payloads
from generations.webhooks.delivery import DeliveryRetry, Postponed
from generations.webhooks.models import WebhookDelivery
from lockngen import retry_policies

pytestmark = pytest.mark.django_db(transaction=True)

State = WebhookDelivery.State


def test_last_attempt__makes_it_a_dead_letter_that_can_be_sent_again(
    make_receiver, make_delivery, change_policy, attempt
):
    change_policy("WEBHOOK", first_pause=0, attempts=3)
    receiver = make_receiver(500, 500, 500, 500, 204)
    delivery = make_delivery(receiver)

    results = [attempt(delivery) for _ in range(3)]
    assert (delivery.state, delivery.attempts, results[2]) == (State.FAILED, 3, None)

    assert WebhookDelivery.objects.failed().send_again() == 1
    assert isinstance(attempt(delivery), Postponed)
    assert attempt(delivery) is None
    assert (delivery.state, delivery.attempts, delivery.counted_attempts) == (State.DELIVERED, 5, 2)
    assert set(receiver.ids) == {str(delivery.pk)}


def test_delivery__that_is_rescued_early_waits_until_it_is_due(make_receiver, make_delivery, attempt):
    receiver = make_receiver(500)
    delivery = make_delivery(receiver)
    postponed = attempt(delivery)

    again = attempt(delivery)

    assert again.seconds == pytest.approx(postponed.seconds, abs=1)
    assert (len(receiver.received), delivery.attempts) == (1, 1)


def test_worker__killed_before_it_marks_a_success_sends_it_again_with_the_same_id(
    make_receiver, make_delivery, monkeypatch, attempt
):
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            attempt(delivery)
    assert delivery.state == State.PENDING

    attempt(delivery)

    assert (delivery.state, receiver.ids) == (State.DELIVERED, [str(delivery.pk)] * 2)


def test_delivery__whose_last_attempt_was_interrupted_fails(make_receiver, make_delivery, change_policy, attempt):
    change_policy("WEBHOOK", attempts=3)
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    WebhookDelivery.objects.update(attempts=3)

    assert attempt(delivery) is None

    assert (delivery.state, receiver.received) == (State.FAILED, [])
    assert "interrupted" in delivery.last_error


def test_attempt__that_is_superseded_neither_postpones_nor_fails_it(make_receiver, make_delivery, sql, attempt):
    def supersede(handler) -> None:
        WebhookDelivery.objects.update(attempts=2)
        connection.close()
        handler.respond(500)

    delivery = make_delivery(make_receiver(supersede))

    assert attempt(delivery) is None  # the job belongs to the other attempt

    assert (delivery.state, delivery.last_error) == (State.PENDING, None)


def test_delivery__that_is_no_event_of_its_interface_ends_without_a_call(make_receiver, make_delivery, attempt):
    receiver = make_receiver()
    payloads.register("silent", lambda *_: None)
    delivery = make_delivery(receiver, interface="silent")

    assert attempt(delivery) is None

    assert (delivery.state, delivery.last_status, receiver.received) == (State.DELIVERED, None, [])


def test_delivery__of_a_removed_generation_is_not_sent(make_receiver, make_delivery):
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    delivery.generation.hard_delete()

    run(delivery)

    assert receiver.received == []


@pytest.mark.parametrize("change", ["delete", "revoke", "deactivate"])
def test_delivery__is_sent_whatever_became_of_the_generation_and_its_key(
    make_receiver, make_delivery, key, change, attempt
):
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    getattr(delivery.generation if change == "delete" else key, change)()

    attempt(delivery)

    assert receiver.received[0].json["data"]["status"] == "cancelled"


def test_receiver__gets_a_quarter_of_the_concurrency(make_receiver, make_delivery, settings):
    settings.WEBHOOK_CONCURRENCY = 8
    slow, quick = make_receiver(silence(0.5)), make_receiver()
    busy = [make_delivery(slow) for _ in range(5)]
    other = make_delivery(quick)

    results = run_at_once([*busy, other])

    assert slow.most_open == 2
    assert [type(result) for result in results].count(Postponed) == 3
    assert len(quick.received) == 1
    assert WebhookDelivery.objects.filter(attempts=0).count() == 3  # those that waited made no attempt


def test_key__gets_half_of_the_concurrency(make_receiver, make_delivery, settings):
    settings.WEBHOOK_CONCURRENCY = 4
    receivers = [make_receiver(silence(0.5)) for _ in range(4)]
    busy = [make_delivery(receiver) for receiver in receivers]

    results = run_at_once(busy)

    assert [type(result) for result in results].count(Postponed) == 2
    assert sum(len(receiver.received) for receiver in receivers) == 2


def test_outage__of_the_database_loses_no_outcome(make_receiver, make_delivery, monkeypatch, change_policy, attempt):
    change_policy("DATABASE_WORKER", first_pause=0)
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    succeed, failures = WebhookDelivery.succeed, [OperationalError("lost"), OperationalError("lost")]

    def fail_first(self, status):
        if failures:
            raise failures.pop()
        return succeed(self, status)

    monkeypatch.setattr(WebhookDelivery, "succeed", fail_first)

    attempt(delivery)

    assert (delivery.state, len(receiver.received)) == (State.DELIVERED, 1)


def test_retry__of_the_job_follows_the_pause_of_the_delivery():
    job = type("Job", (), {"attempts": 40})

    def seconds(error: BaseException) -> float:
        decision = DeliveryRetry().get_retry_decision(exception=error, job=job)
        return (decision.retry_at - datetime.now(UTC)).total_seconds()

    assert seconds(Postponed(datetime.now(UTC) + timedelta(seconds=500))) == pytest.approx(500, abs=1)
    assert seconds(asyncio.CancelledError()) == pytest.approx(0, abs=1)
    assert 29 < seconds(ValueError()) <= 60


def test_policy__reaches_over_hours():
    policy = retry_policies.WEBHOOK
    longest = sum(min(policy.first_pause * policy.factor**n, policy.max_pause) for n in range(policy.attempts - 1))

    assert policy.attempts == 12
    assert 20 < longest / 3600 < 22


def test_stranded__delivery_gets_a_job_again(make_receiver, make_delivery):
    delivery = make_delivery(make_receiver())
    WebhookDelivery.objects.update(created_at=Now() - timedelta(minutes=2))
    assert list(WebhookDelivery.objects.all().stranded()) == []
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")

    assert WebhookDelivery.objects.all().stranded().enqueue() == [str(delivery.pk)]

    assert list(WebhookDelivery.objects.all().stranded()) == []
    assert [job.args for job in ProcrastinateJob.objects.all()] == [{"delivery_id": str(delivery.pk)}]


def test_status__of_the_generation_is_not_changed_by_its_webhook(make_receiver, make_delivery, attempt):
    delivery = make_delivery(make_receiver(500))

    attempt(delivery)

    assert Generation.objects.get(pk=delivery.generation_id).status == Status.CANCELLED
