"""Many concurrent clients of the rate limits, through web processes: the result of each call, and its clock."""

import json
from collections import Counter
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

import psutil
import pytest
from django.db import connection

from apikeys.tests.support.gcra import Gcra
from generations.models import Generation
from lockngen.tests.support.dev import URL
from lockngen.tests.support.embedded_servers import postmaster
from lockngen.tests.support.processes import free_port
from lockngen.tests.support.waiting import wait_until
from lockngen.tests.support.web import Caller, Web, call_at_once

CLIENTS, CALLS = 20, 15  # 300 calls in all
LIMIT = 60  # so that one a second comes back


class Response(NamedTuple):
    """The result of a call."""

    status: int
    remaining: int
    reset: int
    retry_after: int | None


class AuthResult(NamedTuple):
    """The result that the database stored."""

    at: datetime
    is_admitted: bool


@pytest.fixture(scope="module")
def webs(django_db_setup, django_db_blocker, tmp_path_factory):
    """Two servers with several threads in each process. The first has two processes."""
    folder = tmp_path_factory.mktemp("web")
    with django_db_blocker.unblock():
        webs = [
            Web(free_port(), folder / f"{number}.log", "--access-logfile", "-", workers=workers)
            for number, workers in enumerate((2, 1))
        ]
    try:
        for web in webs:
            web.wait_until_ready()
        yield webs
    finally:
        for web in webs:
            web.stop()


@pytest.fixture
def auth_results(transactional_db):
    """Reads every result since the start of the test, in the order in which their calls held the bucket."""
    connection.query("""
            CREATE UNLOGGED TABLE results (number bigserial, at timestamptz, is_admitted bool);
            CREATE FUNCTION record_result() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO results (at, is_admitted) VALUES (NEW.measured_at, NEW.is_admitted);
                RETURN NULL;
            END $$;
            CREATE TRIGGER record_result AFTER INSERT OR UPDATE ON apikeys_bucket
            FOR EACH ROW EXECUTE FUNCTION record_result();
    """)

    def read() -> list[AuthResult]:
        return [AuthResult(*row) for row in connection.query("SELECT at, is_admitted FROM results ORDER BY number")]

    yield read
    connection.query("DROP TRIGGER record_result ON apikeys_bucket; DROP FUNCTION record_result; DROP TABLE results")


def response_of(answer) -> Response:
    values = [int(answer.headers[f"RateLimit-{name}"]) for name in ("Remaining", "Reset")]
    retry_after = answer.headers["Retry-After"]
    return Response(answer.status, *values, retry_after and int(retry_after))


def replay(auth_results: list[AuthResult]) -> tuple[list[bool], Counter[Response]]:
    """The results of the textbook algorithm at the database's times."""
    model, admitted, expected = Gcra(LIMIT), [], Counter()
    for auth_result in auth_results:
        now = Fraction(round(auth_result.at.timestamp() * 1_000_000), 1_000_000)
        admitted.append(model.admits(now))
        retry_after = None if admitted[-1] else model.retry_after(now)
        expected[Response(200 if admitted[-1] else 429, model.remaining(now), model.reset(now), retry_after)] += 1
    return admitted, expected


def cpu_seconds(webs: list[Web]) -> Counter[int]:
    """What each web process has used so far."""
    workers = [worker for web in webs for worker in psutil.Process(web.process.pid).children()]
    return Counter({worker.pid: sum(worker.cpu_times()[:2]) for worker in workers})


def race(webs: list[Web], key, auth_results, pause: float) -> None:
    callers = [Caller(webs[number % len(webs)].port, key.token) for number in range(CLIENTS)]
    before = cpu_seconds(webs)

    answers = Counter(call_at_once(callers, lambda caller: response_of(caller.ask(URL)), CALLS, pause))

    stored = auth_results()
    admitted, expected = replay(stored)
    assert [auth_result.at for auth_result in stored] == sorted(auth_result.at for auth_result in stored)
    assert [auth_result.is_admitted for auth_result in stored] == admitted
    assert answers == expected
    assert answers.total() == CLIENTS * CALLS
    came_back = (stored[-1].at - stored[0].at).total_seconds() * LIMIT / 60
    assert came_back - 3 <= sum(admitted) - LIMIT <= came_back  # the last of the clients may come more seldom
    assert sum(used > 0.02 for used in (cpu_seconds(webs) - before).values()) > 1  # it was a race of processes


def test_one_server__admits_what_the_limit_allows(webs, auth_results, make_key):
    race(webs[:1], make_key(rate_limit=LIMIT), auth_results, pause=0)


def test_two_servers__admit_together_what_the_limit_allows(webs, auth_results, make_key):
    race(webs, make_key(rate_limit=LIMIT), auth_results, pause=3 / CALLS)


@pytest.mark.faults
@pytest.mark.parametrize("run", range(20))
@pytest.mark.parametrize(("servers", "seconds"), [(1, 0), (2, 0), (2, 10)])
def test_limit__is_exact_every_time(webs, auth_results, make_key, servers, seconds, run):
    race(webs[:servers], make_key(rate_limit=LIMIT), auth_results, pause=seconds / CALLS)


def test_quota__is_exact_through_all_processes(webs, make_key, transactional_db):
    key = make_key(rate_limit=0, max_pending=5)
    callers = [Caller(webs[number % 2].port, key.token) for number in range(CLIENTS)]

    answers = call_at_once(callers, lambda caller: caller.ask(URL, json.dumps({"prompt": "x"})), times=2)

    statuses = Counter(answer.status for answer in answers)
    assert statuses == {201: 5, 429: 2 * CLIENTS - 5}
    assert Generation.objects.count() == 5


def test_revocation__holds_from_the_next_request_on_in_every_process(webs, make_key, transactional_db):
    key = make_key()
    callers = [Caller(web.port, key.token) for web in webs for _ in range(8)]
    assert {answer.status for answer in call_at_once(callers, lambda caller: caller.ask(URL), times=1)} == {200}

    connection.query("UPDATE apikeys_apikey SET revoked_at = now()")

    assert {answer.status for answer in call_at_once(callers, lambda caller: caller.ask(URL), times=1)} == {401}


def test_access_log__holds_no_token(webs, make_key, transactional_db):
    key = make_key()

    with Caller(webs[0].port, key.token) as caller:
        assert caller.ask(f"{URL}?api_key={key.token}").status == 400
        assert caller.ask(f"/?token={key.token}").status == 200

    wait_until(lambda: "/?token=" in webs[0].output())  # the line is written after the answer
    log = webs[0].output()
    assert f"GET /?token={key.prefix}… HTTP/1.1" in log
    assert key.token not in log


@pytest.mark.faults
def test_crash_of_the_database__grants_the_limit_anew_and_keeps_the_key(make_dev):
    dev = make_dev()
    dev.token = dev.manage("apikey", "create", "Ann", "--rate-limit", "1").stdout.strip()
    assert statuses(dev, 2) == [200, 429]

    postmaster(dev.data / "postgres/cluster").children()[0].kill()  # for which the server ends all others, and recovers
    wait_until_emptied(dev)

    assert statuses(dev, 2) == [200, 429]


def statuses(dev, calls: int) -> list[int]:
    with Caller(dev.port, dev.token) as caller:
        return [caller.ask(URL).status for _ in range(calls)]


def wait_until_emptied(dev) -> None:
    with Caller(dev.port, dev.token) as caller:
        wait_until(lambda: is_emptied(caller.ask("/api/v1/key")), 30, dev.output)


def is_emptied(answer) -> bool:
    return answer.status == 200 and json.loads(answer.body)["remaining"] == 1
