"""Webhooks for operators: `manage.py webhooks`, the admin and the purge."""

import json
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.models.functions import Now

from generations.images import retention
from generations.webhooks import models
from generations.webhooks.models import WebhookDelivery, WebhookDeliveryQuerySet
from generations.webhooks.signature import WebhookSecret

pytestmark = pytest.mark.django_db
State = WebhookDelivery.State
DELIVERIES, SECRETS = "/admin/generations/webhookdelivery/", "/admin/generations/webhooksecret/"


@pytest.fixture
def make_delivery(make_webhook_generation):
    """A delivery in this state, which ended `days` ago if it has ended."""

    def make(state: State = State.FAILED, days: float = 0) -> WebhookDelivery:
        generation = make_webhook_generation("https://user:pass@example.org:8443/hook?token=s3cret", ["completed"])
        generation.cancel()
        delivery = generation.webhook_deliveries.get()
        if state == State.FAILED:
            delivery.fail(delivery.start(), "it answered 500", 500)
        elif state == State.DELIVERED:
            delivery.succeed(200)
        WebhookDelivery.objects.filter(pk=delivery.pk).exclude(state=State.PENDING).update(
            ended_at=Now() - timedelta(days=days)
        )
        delivery.refresh_from_db()
        return delivery

    return make


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("webhooks", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_list__shows_the_failed_without_what_may_be_secret(make_delivery):
    failed, _, _ = make_delivery(), make_delivery(State.PENDING), make_delivery(State.DELIVERED)

    out, _ = run("list")

    head, row = out.splitlines()
    assert head.split() == [
        *("id", "event", "generation", "receiver", "state", "attempts", "next_attempt_at", "ended_at", "error")
    ]
    assert row.split()[:6] == [
        *(str(failed.pk), "completed", str(failed.generation_id), "https://example.org:8443", "failed", "1")
    ]
    assert row.endswith("it answered 500")
    assert "pass" not in out
    assert "s3cret" not in out


@pytest.mark.parametrize(("state", "count"), [("pending", 1), ("delivered", 2), ("failed", 0), ("all", 3)])
def test_list__selects_a_state(make_delivery, state, count):
    make_delivery(State.PENDING), make_delivery(State.DELIVERED), make_delivery(State.DELIVERED)

    out, _ = run("list", "--state", state, "--json")

    assert len(json.loads(out)) == count
    assert run("list", "--state", state, "--limit", "1")[0].count("\n") == (2 if count else 0)


def test_list__of_nothing_states_so():
    assert run("list") == ("", "There is none.\n")


def test_resend__sends_the_named_ones_again(make_delivery):
    failed, delivered, other = make_delivery(), make_delivery(State.DELIVERED), make_delivery()

    _, err = run("resend", str(failed.pk), str(delivered.pk))

    assert err == "2 webhooks will be sent again.\n"
    states = dict(WebhookDelivery.objects.values_list("pk", "state"))
    assert states == {failed.pk: State.PENDING, delivered.pk: State.PENDING, other.pk: State.FAILED}
    failed.refresh_from_db()
    assert (failed.attempts, failed.counted_attempts) == (1, 0)


def test_resend__of_all_failed(make_delivery):
    make_delivery(), make_delivery(), make_delivery(State.DELIVERED)

    assert run("resend", "--failed")[1] == "2 webhooks will be sent again.\n"
    assert run("resend", "--failed")[1] == "0 webhooks will be sent again.\n"


def test_resend__of_many_is_made_in_batches(make_delivery, monkeypatch, sql):
    monkeypatch.setattr(models, "SENT_AT_ONCE", 2)
    ids = [str(make_delivery().pk) for _ in range(5)]
    sql("DELETE FROM procrastinate_jobs")

    assert run("resend", "--failed")[1] == "5 webhooks will be sent again.\n"

    jobs = sql("SELECT queueing_lock, queue_name, task_name, args->>'delivery_id' FROM procrastinate_jobs")
    assert sorted(jobs) == sorted((id, "webhooks", "generations.deliver_webhook", id) for id in ids)


def test_resend__gives_each_one_job(make_delivery, sql):
    waiting, ended = make_delivery(), make_delivery()
    sql("UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour'")
    sql("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE queueing_lock = %s", str(ended.pk))

    run("resend", "--failed")

    jobs = sql("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND scheduled_at IS NULL")
    assert sorted(jobs) == sorted([(str(waiting.pk),), (str(ended.pk),)])


def test_resend__leaves_a_running_job_alone(make_delivery, sql):
    delivery = make_delivery(State.PENDING)
    sql("UPDATE procrastinate_jobs SET status = 'doing'")

    run("resend", str(delivery.pk))

    assert sql("SELECT status FROM procrastinate_jobs") == [("doing",)]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["resend", str(uuid4())], 4, r"^There is no webhook [0-9a-f-]{36}\. webhooks list shows the ids\.$"),
        (["resend", "nonsense"], 2, "'nonsense' is not the id of a webhook"),
        (["resend"], 2, "one of the arguments"),
        (["list", "--state", "gone"], 2, "invalid choice"),
        (["list", "--limit", "0"], 2, "not a whole number of at least 1"),
        ([], 2, "required: command"),
    ],
)
def test_command__refuses_wrong_arguments_on_one_line(arguments, code, message):
    with pytest.raises(CommandError, match=message) as error:
        run(*arguments)

    assert "\n" not in str(error.value)
    assert error.value.returncode == code or (code, error.value.returncode) == (2, 1)  # argparse's own are 2 in a shell


def test_command__reports_an_unavailable_database_on_one_line(monkeypatch):
    def fail(self):
        raise OperationalError("no\nconnection")

    monkeypatch.setattr(WebhookDeliveryQuerySet, "failed", fail)

    with pytest.raises(CommandError, match=r"^The database failed: no connection$") as error:
        run("resend", "--failed")

    assert error.value.returncode == 3


def test_purge__removes_those_that_ended_long_ago(make_delivery, settings):
    settings.RETENTION_WEBHOOKS = 7
    kept = [make_delivery(State.PENDING), make_delivery(days=6), make_delivery(State.DELIVERED, days=6)]
    WebhookDelivery.objects.filter(state=State.PENDING).update(created_at=Now() - timedelta(days=100))
    for _ in range(3):
        make_delivery(days=8), make_delivery(State.DELIVERED, days=8)

    surveyed = [tally.webhooks for tally in retention.survey()][-1]
    removed = [tally.webhooks for tally in retention.purge(size=4)][-1]

    assert (surveyed, removed) == (6, 6)
    assert set(WebhookDelivery.objects.all()) == set(kept)


def test_purge__keeps_them_where_there_is_no_retention(make_delivery, settings):
    settings.RETENTION_WEBHOOKS = 0
    make_delivery(days=1000)

    assert list(retention.purge()) == []


def test_purge__of_a_generation_takes_its_webhooks_along(make_delivery, settings):
    settings.RETENTION_FINISHED = 1
    delivery = make_delivery(State.PENDING)
    type(delivery.generation).all_objects.update(completed_at=Now() - timedelta(days=2))

    assert [tally.generations for tally in retention.purge()] == [1]

    assert WebhookDelivery.objects.count() == 0


def test_admin__lists_and_shows_deliveries_without_what_may_be_secret(admin_client, make_delivery):
    delivery = make_delivery()

    for page in (DELIVERIES, f"{DELIVERIES}?state__exact=2", f"{DELIVERIES}{delivery.pk}/change/"):
        text = admin_client.get(page).content.decode()
        assert "https://example.org:8443" in text
        assert "it answered 500" in text
        assert "s3cret" not in text


@pytest.fixture
def act(admin_client):
    def act(page: str, action: str, *rows, client=admin_client):
        return client.post(page, {"action": action, "_selected_action": [str(row.pk) for row in rows]}, follow=True)

    return act


def test_admin__sends_again_and_records_who_did(act, make_delivery):
    delivery, other = make_delivery(), make_delivery()

    answer = act(DELIVERIES, "send_again", delivery)

    assert "Will be sent again: 1." in answer.content.decode()
    assert dict(WebhookDelivery.objects.values_list("pk", "state")) == {
        delivery.pk: State.PENDING,
        other.pk: State.FAILED,
    }
    assert LogEntry.objects.get().change_message == "Sent again."


def test_admin__shows_a_secret_only_on_purpose(admin_client, act, key):
    secret = WebhookSecret.objects.of(key)
    for page in (SECRETS, f"{SECRETS}{key.pk}/change/"):
        assert secret.secret not in admin_client.get(page).content.decode()

    answer = act(SECRETS, "show", secret)

    assert secret.secret in answer.content.decode().replace("&#x3D;", "=")
    assert "no-store" in answer["Cache-Control"]
    assert LogEntry.objects.get().change_message == "Shown."


def test_admin__replaces_a_secret(act, key):
    before = WebhookSecret.objects.of(key).secret

    answer = act(SECRETS, "rotate", WebhookSecret.objects.of(key))

    after = WebhookSecret.objects.of(key)
    assert after.valid == [after.secret, before]
    assert after.secret in answer.content.decode()
    assert before not in answer.content.decode()


def test_admin__lets_viewers_neither_send_nor_see_secrets(client, act, django_user_model, make_delivery, key):
    viewer = django_user_model.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_webhook"))
    client.force_login(viewer)
    delivery, secret = make_delivery(), WebhookSecret.objects.of(key)

    act(DELIVERIES, "send_again", delivery, client=client)
    answers = [act(SECRETS, action, secret, client=client) for action in ("show", "rotate")]

    delivery.refresh_from_db()
    assert delivery.state == State.FAILED
    assert all(secret.secret not in answer.content.decode() for answer in answers)
    assert WebhookSecret.objects.get().previous is None
