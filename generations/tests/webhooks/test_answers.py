"""What ends a delivery, and what postpones it."""

import logging
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from generations.tests.support.receiver import flood, hang_up, redirect, retry_after, silence, trickle
from generations.webhooks import sending
from generations.webhooks.delivery import Postponed
from generations.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db(transaction=True)

State = WebhookDelivery.State


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success__ends_the_delivery(make_receiver, make_delivery, status, attempt):
    delivery = make_delivery(make_receiver(status))

    assert attempt(delivery) is None

    assert (delivery.state, delivery.last_status, delivery.attempts) == (State.DELIVERED, status, 1)
    assert delivery.ended_at is not None
    assert attempt(delivery) is None
    assert delivery.attempts == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 422, 429, 500, 503])
def test_other_statuses__postpone_it(make_receiver, make_delivery, status, attempt):
    delivery = make_delivery(make_receiver(status))

    postponed = attempt(delivery)

    assert 2 <= postponed.seconds <= 5
    assert (delivery.state, delivery.last_status, delivery.attempts) == (State.PENDING, status, 1)
    assert str(status) in delivery.last_error


def test_gone__ends_it_at_once(make_receiver, make_delivery, caplog, attempt):
    delivery = make_delivery(make_receiver(410))
    caplog.set_level(logging.INFO)

    assert attempt(delivery) is None

    assert (delivery.state, delivery.last_status) == (State.FAILED, 410)
    assert f"Webhook {delivery.pk}, completed of generation {delivery.generation_id}: failed" in caplog.text
    assert "s3cret" not in caplog.text


def test_receiver__away_for_five_attempts_gets_it_once_it_is_back(make_receiver, make_delivery, change_policy, attempt):
    change_policy("WEBHOOK", first_pause=0)
    receiver = make_receiver(503, hang_up, 500, 404, silence(2), 204)
    delivery = make_delivery(receiver)

    results = [attempt(delivery) for _ in range(6)]

    assert [type(result) for result in results] == [Postponed] * 5 + [type(None)]
    assert (delivery.state, delivery.attempts) == (State.DELIVERED, 6)
    assert receiver.ids == [str(delivery.pk)] * 6


def test_receiver__that_refuses_connections_is_tried_again(make_receiver, make_delivery, change_policy, attempt):
    change_policy("WEBHOOK", first_pause=0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    delivery = make_delivery(url=f"http://127.0.0.1:{port}/")

    assert isinstance(attempt(delivery), Postponed)

    assert delivery.last_error == f"it can't be reached: [Errno 111] Connect call failed ('127.0.0.1', {port})"


def test_redirect__is_not_followed(make_receiver, make_delivery, attempt):
    private = make_receiver()
    delivery = make_delivery(make_receiver(redirect(private.url)))

    assert isinstance(attempt(delivery), Postponed)

    assert private.received == []
    assert delivery.last_error == "it answered 302 with a redirect, which is not followed"


@pytest.mark.parametrize(
    "answer",
    [
        silence(3),
        trickle(b"HTTP/1.1 200 OK\r\nX-A: ", 3),
        trickle(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", 3),
        trickle(b"", 3),
    ],
    ids=["silence", "a header that never ends", "informational answers", "no HTTP"],
)
def test_receiver__that_is_slow_is_left_in_time(make_receiver, make_delivery, answer, attempt):
    delivery = make_delivery(make_receiver(answer))
    started_at = time.monotonic()

    assert isinstance(attempt(delivery), Postponed)

    assert time.monotonic() - started_at < 2
    assert delivery.last_error == "it did not answer within 1 seconds"


def test_body__that_is_huge_is_not_read(make_receiver, make_delivery, attempt):
    receiver = make_receiver(flood(200))
    delivery = make_delivery(receiver)

    attempt(delivery)

    assert delivery.state == State.DELIVERED
    assert receiver.sent_megabytes < 50  # what sockets buffer


def test_body__that_trickles_does_not_change_a_success(make_receiver, make_delivery, settings, attempt):
    settings.WEBHOOK_TIMEOUT = 10
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    delivery = make_delivery(make_receiver(trickle(head, 5)))
    started_at = time.monotonic()

    attempt(delivery)

    assert delivery.state == State.DELIVERED
    assert time.monotonic() - started_at < sending.READ_TIMEOUT + 1


def test_answer__that_is_no_http_postpones_it(make_receiver, make_delivery, attempt):
    def answer(handler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9\r\n" * 10)
        handler.close_connection = True

    assert isinstance(attempt(make_delivery(make_receiver(answer))), Postponed)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("120", 119, 120),
        ("1", 2, 5),
        ("999999999999", 14_399, 14_400),
        ("-5", 2, 5),
        ("soon", 2, 5),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 2, 5),
        ("Thu, 01 Jan 1970 00:00:00", 2, 5),
    ],
)
def test_retry_after__lengthens_the_pause_within_bounds(make_receiver, make_delivery, text, least, most, attempt):
    delivery = make_delivery(make_receiver(retry_after(text)))

    postponed = attempt(delivery)

    assert least <= postponed.seconds <= most
    assert delivery.next_attempt_at - datetime.now(UTC) > timedelta(seconds=least - 1)


def test_retry_after__may_be_a_date(make_receiver, make_delivery, attempt):
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)

    assert 1700 < attempt(make_delivery(make_receiver(retry_after(date)))).seconds <= 1800
