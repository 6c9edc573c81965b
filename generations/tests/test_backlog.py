"""The costs of a submission and of a fetch do not depend on the number of waiting generations."""

import json
import subprocess
import sys

import pytest
from django.db import connection

from benchmarks.backlog import fill
from generations.models import Generation
from generations.scheduling.fair_share import FairShare
from lockngen.environment import BASE_DIR
from lockngen.queue import FETCH_JOB

WAITING = 3000
READ = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables
    WHERE relname IN ('generations_generation', 'procrastinate_jobs')
"""


@pytest.fixture
def busy_key(make_key):
    keys = [make_key(name=f"Busy {number}") for number in range(3)]
    fill(WAITING, keys)
    return keys[0]


@pytest.fixture
def rows_read(sql):
    """Returns how many rows of the large tables a call reads."""

    def rows_read(call, *args) -> int:
        ((before,),) = sql(READ)
        call(*args)
        return sql(READ)[0][0] - before

    return rows_read


def submit(key) -> None:
    Generation.objects.submit(api_key=key, prompt="one more")


def fetch(queues) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FETCH_JOB, {"queues": queues, "worker_id": None})
        assert cursor.fetchone()[0]


def test_submit__reads_a_few_rows(busy_key, rows_read, key):
    assert rows_read(submit, busy_key) < 10
    assert rows_read(submit, key) < 10  # a new key

    FairShare.objects.update(taken_at="2026-01-01T00:00Z")  # after a pause
    assert rows_read(submit, busy_key) < 10

    FairShare.objects.all().delete()  # what a crash does to an UNLOGGED table
    assert rows_read(submit, key) < 10


def test_fetch__reads_a_few_rows(busy_key, rows_read):
    for queues in (None, ["render"]):
        assert [rows_read(fetch, queues) < 10 for _ in range(8)] == [True] * 8  # the sixth is planned for any queues


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_cost__with_100_000_waiting_is_that_with_100():
    done = subprocess.run([sys.executable, "-m", "benchmarks.backlog", "--json"], cwd=BASE_DIR, capture_output=True)

    assert done.returncode == 0, done.stderr.decode()
    costs = json.loads(done.stdout)
    assert {call: figures["ratio"] for call, figures in costs.items() if figures["ratio"] > 1.5} == {}
    assert set(costs) == {"submit", "fetch", "fetch from render"}
