"""The usage of keys, which `generations` provides."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from apikeys import usage_provider
from apikeys.audit import Action
from apikeys.models import ApiKey
from generations.models import Generation
from generations.status import Status

pytestmark = pytest.mark.django_db


def id_at(time: datetime) -> UUID:
    """The lowest UUID of version 7 of this millisecond."""
    return UUID(int=int(time.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62)


@pytest.fixture
def make_generation_at(make_generation):
    return lambda time, **fields: make_generation(id=id_at(time), created_at=time, **fields)


def make_many_generations(keys: list[ApiKey]) -> None:
    """300 of each key, one every two hours."""
    now = timezone.now()
    rows = [
        (id_at(time).int + n, time, key.pk)
        for hours in range(0, 600, 2)
        for n, key in enumerate(keys)
        for time in [now - timedelta(hours=hours)]
    ]
    ids, times, owners = zip(*rows, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO generations_generation (id, created_at, api_key_id, prompt)
               SELECT *, 'a lighthouse' FROM unnest(%s::uuid[], %s::timestamptz[], %s::uuid[])""",
            [[str(UUID(int=id)) for id in ids], list(times), list(owners)],
        )
        cursor.execute("ANALYZE generations_generation")


def test_by_status__counts_live_generations_of_the_key(key, make_key, make_generation):
    make_generation(), make_generation(), make_generation(status=Status.PROCESSING)
    make_generation().delete()
    make_generation(api_key=make_key())

    counted = usage_provider.get_provider().by_status(key)

    assert counted == {"pending": 2, "processing": 1, "completed": 0, "failed": 0, "cancelled": 0}


def test_by_day__counts_from_the_first_moment_of_the_first_day(key, make_generation_at):
    midnight = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for time in (midnight, midnight - timedelta(days=2), midnight - timedelta(days=2, milliseconds=1)):
        make_generation_at(time)

    assert usage_provider.get_provider().by_day(key, 3) == {midnight.date(): 1, midnight.date() - timedelta(days=2): 1}


def test_by_day__is_one_query_that_uses_an_index(key, make_key, django_assert_num_queries):
    make_many_generations([key, *(make_key() for _ in range(9))])

    with django_assert_num_queries(1) as captured:
        usage_provider.get_provider().by_day(key, 5)

    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT json) " + captured[0]["sql"])
        plan = json.dumps(cursor.fetchone()[0])
    assert "Index Cond" in plan  # of the key's live rows or of the ids, whichever are fewer
    assert "Seq Scan" not in plan


def test_revoke__keeps_pending_generations(key, make_generation):
    generation = make_generation()

    key.revoke()

    generation.refresh_from_db()
    assert generation.status == Status.PENDING


def test_revoke__cancels_pending_generations_if_requested(key, make_key, make_generation):
    waiting, under_way, strange = (
        make_generation(),
        make_generation(status=Status.PROCESSING),
        make_generation(api_key=make_key()),
    )

    assert key.revoke(cancel_pending=True)

    assert dict(Generation.objects.values_list("pk", "status")) == {
        waiting.pk: Status.CANCELLED,
        under_way.pk: Status.PROCESSING,
        strange.pk: Status.PENDING,
    }
    logged = list(key.events.order_by("id").values_list("action", "changes"))
    assert logged == [(Action.REVOKED, {}), (Action.CANCELLED, {"generations": 1})]


def test_revoke__of_a_revoked_key_cancels_pending_generations(key, make_generation):
    make_generation()
    key.revoke()

    assert not key.revoke(cancel_pending=True)

    assert Generation.objects.get().status == Status.CANCELLED


def test_failing_revoke__cancels_nothing(key, make_generation, monkeypatch):
    make_generation()
    monkeypatch.setattr(usage_provider.get_provider(), "noun", property)  # which no JSON can hold

    with pytest.raises(TypeError):
        key.revoke(cancel_pending=True)

    assert Generation.objects.get().status == Status.PENDING
    assert type(key).objects.get().revoked_at is None
