"""Generations that are stored together."""

import pytest
from django.db import IntegrityError, OperationalError, connection
from procrastinate.contrib.django.models import ProcrastinateJob

from apikeys.models import ApiKey
from generations import submission
from generations.models import Generation
from generations.scheduling.fair_share import ONE_SHARE
from generations.status import Status
from lockngen.database import retry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stranger() -> ApiKey:
    """A key that is not stored, so that no generation of it can be."""
    return ApiKey(key_hash="0" * 64, name="nobody")


def jobs() -> dict[str, ProcrastinateJob]:
    return {job.queueing_lock: job for job in ProcrastinateJob.objects.all()}


def test_submit_all__stores_each_with_its_job(key, make_key):
    other = make_key()
    submissions = [{"api_key": key, "prompt": "a"}, {"api_key": other, "prompt": "b", "model": "sketch", "seed": 7}]

    stored = Generation.objects.submit_all(submissions)

    rows = [Generation.objects.get(pk=generation.pk) for generation in stored]
    assert [(row.api_key, row.prompt, row.seed, row.status) for row in rows] == [
        (key, "a", None, Status.PENDING),
        (other, "b", 7, Status.PENDING),
    ]
    assert [row.created_at for row in rows] == [generation.created_at for generation in stored]
    assert [jobs()[str(row.pk)].queue_name for row in rows] == ["render", "render-sketch"]
    assert [jobs()[str(row.pk)].args for row in rows] == [{"generation_id": str(row.pk)} for row in rows]


@pytest.mark.parametrize("is_known", [False, True])
def test_submit_all__advances_each_key_by_its_shares(key, make_key, is_known):
    keys = [key, make_key(priority=3)]
    if is_known:
        Generation.objects.submit_all([{"api_key": each, "prompt": "x"} for each in keys])

    stored = Generation.objects.submit_all([{"api_key": keys[number], "prompt": "x"} for number in (0, 1, 0, 0, 1)])

    priorities = [jobs()[str(generation.pk)].priority for generation in stored]
    assert [priorities[0] - priorities[2], priorities[2] - priorities[3]] == [ONE_SHARE, ONE_SHARE]
    assert priorities[1] - priorities[4] == ONE_SHARE // 3
    next_one = Generation.objects.submit(api_key=key, prompt="x")
    assert jobs()[str(next_one.pk)].priority == priorities[3] - ONE_SHARE


def test_submit_all__refuses_what_is_wrong_and_stores_the_others(key, stranger):
    submissions = [{"api_key": each, "prompt": "x"} for each in (key, stranger, key)]

    results = Generation.objects.submit_all(submissions)

    assert [type(result) for result in results] == [Generation, IntegrityError, Generation]
    assert {row.pk for row in Generation.objects.all()} == {results[0].pk, results[2].pk}
    assert jobs().keys() == {str(results[0].pk), str(results[2].pk)}


def test_submit_all__stores_nothing_twice_if_the_result_is_lost(key, monkeypatch):
    insert = submission.insert

    def insert_and_lose(*arguments) -> None:
        monkeypatch.setattr(submission, "insert", insert)
        insert(*arguments)
        connection.close()
        away()

    monkeypatch.setattr(submission, "insert", insert_and_lose)

    results = Generation.objects.submit_all([{"api_key": key, "prompt": prompt} for prompt in "ab"])

    assert {row.prompt: row.pk for row in Generation.objects.all()} == {each.prompt: each.pk for each in results}
    assert len(jobs()) == 2


@pytest.mark.parametrize("has_quota", [False, True])
def test_submit__stores_each_value_exactly(make_key, has_quota):
    key = make_key(max_pending=5 if has_quota else 0)
    values = {"prompt": '"quoted" \\ 🎨 שלום\n', "seed": 2**63 - 1, "guidance": 0.1 + 0.2, "labels": {"a": '"b"'}}

    stored = Generation.objects.submit(api_key=key, **values)

    assert Generation.objects.filter(pk=stored.pk).values(*values).get() == values


def test_submit_all__fails_as_a_whole_while_the_database_is_away(key, monkeypatch):
    monkeypatch.setattr("generations.submission.insert", lambda *_: away())
    monkeypatch.setattr(retry, "is_transient", lambda error: False)

    results = Generation.objects.submit_all([{"api_key": key, "prompt": "x"}] * 3)

    assert [type(result) for result in results] == [retry.InDoubt] * 3


def away():
    raise OperationalError("the server closed the connection")
