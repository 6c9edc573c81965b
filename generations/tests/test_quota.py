"""How many unfinished generations a key may have: its `max_pending`."""

import threading
from contextlib import nullcontext

import psycopg
import pytest
from django.db import OperationalError, connection

from apikeys.models import ApiKey
from generations.models import Generation
from generations.querysets import QueueFull
from generations.scheduling.fair_share import FairShare
from generations.status import Status
from generations.tests.support.calls import URL, assert_problem, post


def submit(key: ApiKey) -> Generation:
    return Generation.objects.submit(api_key=key, prompt="a lighthouse")


def test_quota__counts_pending_and_processing_generations(make_key, make_generation):
    key = make_key(max_pending=2)
    for status in Status:
        image_path = "a.png" if status == Status.COMPLETED else None
        error_message = "broken" if status == Status.FAILED else None
        completed_at = key.created_at if status > Status.PROCESSING else None
        make_generation(
            api_key=key, status=status, image_path=image_path, error_message=error_message, completed_at=completed_at
        )

    with pytest.raises(QueueFull, match="2 unfinished"):
        submit(key)

    assert Generation.objects.count() == len(Status)


def test_quota__ignores_other_keys(make_key, make_generation):
    make_generation()

    assert submit(make_key(max_pending=1))


@pytest.mark.parametrize("end", [Generation.cancel, Generation.delete, lambda one: one.fail(one.start(), "broken")])
def test_quota__has_room_again_when_a_generation_ends(make_key, end):
    key = make_key(max_pending=1)
    first = submit(key)

    end(first)

    assert submit(key)


def test_quota__is_read_from_the_database(make_key):
    key = make_key(max_pending=1)
    ApiKey.objects.update(max_pending=2)

    assert [submit(key), submit(key)]
    with pytest.raises(QueueFull):
        submit(key)


def test_quota__of_0_is_unlimited(make_key):
    key = make_key(max_pending=0)

    assert len([submit(key) for _ in range(3)]) == 3


def test_quota__is_exact_for_concurrent_submissions(transactional_db, make_key):
    key = make_key(max_pending=3)
    begin, refused = threading.Barrier(8, timeout=10), []

    def work() -> None:
        begin.wait()
        try:
            submit(key)
        except QueueFull:
            refused.append(1)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert (Generation.objects.count(), len(refused)) == (3, 5)


@pytest.mark.parametrize("max_pending", [0, 5])
def test_key__is_locked_only_if_it_has_a_quota(transactional_db, make_key, settings, max_pending):
    key = make_key(max_pending=max_pending)
    settings.DB_RETRY_ATTEMPTS = 1
    with psycopg.connect(**connection.get_connection_params()) as other, connection.cursor() as cursor:
        other.execute("SELECT FROM apikeys_apikey FOR NO KEY UPDATE")
        cursor.execute("SET lock_timeout = '100ms'")

        with pytest.raises(OperationalError, match="lock timeout") if max_pending else nullcontext():
            submit(key)

        cursor.execute("RESET lock_timeout")


def test_full_queue__is_a_429_of_its_own(make_key, client_of, debug):
    client = client_of(make_key(rate_limit=5, max_pending=1))
    first = post(client, {"prompt": "x"}).json()

    answer = post(client, {"prompt": "y"})

    assert_problem(answer, 429, "1 unfinished generation", "cancel one")
    assert answer.json()["type"] == "urn:lockngen:problem:queue-full"
    assert int(answer["Retry-After"]) >= 1
    assert answer["RateLimit-Remaining"] == "3"  # it was counted
    client.post(f"{URL}/{first['id']}/cancel")
    assert post(client, {"prompt": "y"}).status_code == 201


def test_count__is_read_from_an_index(make_key, make_generation):
    key, other = make_key(max_pending=5), make_generation()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO generations_generation (id, api_key_id, prompt, status, completed_at)
               SELECT gen_random_uuid(), CASE n %% 2 WHEN 0 THEN %s ELSE %s END::uuid, 'x', 4, now()
               FROM generate_series(1, 10000) AS n""",
            [key.pk, other.api_key_id],
        )
        cursor.execute("ANALYZE generations_generation")

    plan = Generation.objects.owned_by(key).unfinished().explain()

    assert "generation_live_by_status" in plan
    assert "Seq Scan" not in plan


def test_refused_submission__uses_no_share(make_key):
    key = make_key(max_pending=1)
    Generation.objects.submit(api_key=key, prompt="a lighthouse")
    before = FairShare.objects.get(api_key=key).taken

    with pytest.raises(QueueFull):
        Generation.objects.submit(api_key=key, prompt="one too many")

    assert FairShare.objects.get(api_key=key).taken == before
