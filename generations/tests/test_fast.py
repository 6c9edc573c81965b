"""The fast path gives the same responses as Django's handler, which a header makes serve the same request."""

import json
import re
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys.models import ApiKey
from apikeys.rate_limit.statement import AuthResult
from apikeys.tests.test_models import UNUSABLE
from generations.api import fast, presenters
from generations.api.presenters import Viewer
from generations.api.schemas import GenerationOut
from generations.models import Generation
from lockngen.tests.support.dev import URL
from lockngen.tests.support.web import Caller
from lockngen.web import threads

THROUGH_DJANGO = {"Content-Encoding": "identity"}
VARYING = {
    "Date",
    "RateLimit-Remaining",
    "X-RateLimit-Remaining",
    "RateLimit-Reset",
    "X-RateLimit-Reset",
    "X-Request-Id",
}
UNIQUE = re.compile(r'(?<=id":")[0-9a-f-]{36}|(?<=generations/)[0-9a-f-]{36}|signature=[\w.-]+|(?<=_at":")[^"]+')

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def respond(web):
    """Both responses to a request, without what differs between any two requests."""
    callers = []

    def call(method: str, path: str, headers: dict, body: bytes | None) -> tuple:
        caller = callers[0] if callers else Caller(web.port)
        callers[:] = [caller]
        caller.connection.request(method, path, body, headers)
        answer = caller.connection.getresponse()
        kept = {name: UNIQUE.sub("", value) for name, value in answer.getheaders() if name not in VARYING}
        kept["Content-Security-Policy"] = sorted(kept.get("Content-Security-Policy", "").split("; "))
        return answer.status, kept, UNIQUE.sub("", answer.read().decode())

    def respond(method: str, path: str, token: str = "", body: bytes | None = None, **headers: str) -> tuple:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", **headers}
        return call(method, path, headers, body), call(method, path, headers | THROUGH_DJANGO, body)

    yield respond
    for caller in callers:
        caller.connection.close()


def compare(responses: tuple) -> int:
    fast, through_django = responses
    assert fast == through_django
    return fast[0]


@pytest.fixture
def generations(make_generation, make_completed, make_key) -> dict[str, Generation]:
    found = {
        "pending": make_generation(),
        "completed": make_completed(),
        "a stranger's": make_generation(api_key=make_key()),
    }
    found["failed"] = make_generation(
        labels={"a": "ü"}, prompt="ein Café \U0001f98a\u2028", seed=2**53 - 1, guidance=7.25
    )
    found["failed"].fail(found["failed"].start(), "It is “too” large.")
    found["deleted"] = make_generation()
    found["deleted"].delete()
    return found


def test_show__is_the_same(respond, key, generations):
    statuses = {name: compare(respond("GET", f"{URL}/{each.id}", key.token)) for name, each in generations.items()}

    assert statuses == {"pending": 200, "completed": 200, "failed": 200, "a stranger's": 404, "deleted": 404}


@pytest.mark.parametrize("microseconds", [0, 1, 999, 1000, 120_000, 123_456, 999_999])
def test_times__are_the_same(web, key, make_generation, microseconds):
    generation = make_generation()
    time = datetime(2026, 2, 3, 4, 5, 6, microseconds, tzinfo=UTC)
    Generation.objects.update(created_at=time)

    with Caller(web.port, key.token) as caller:
        shown = json.loads(caller.ask(f"{URL}/{generation.id}").body)
        (listed,) = json.loads(caller.ask(URL).body)["items"]

    generation.refresh_from_db()
    expected = presenters.generation(generation, Viewer("", key.pk))["created_at"]
    assert shown["created_at"] == listed["created_at"] == expected
    assert datetime.fromisoformat(expected) == time.replace(microsecond=microseconds // 1000 * 1000)


@pytest.mark.parametrize("id", ["", "x", "01A2060A-D97E-74B1-8053-66D169BBCD7F", "%30", "01a2060a", "0" * 32, "a/b"])
def test_show__of_no_id_is_the_same(respond, key, id):
    assert compare(respond("GET", f"{URL}/{id}", key.token)) == 404


@pytest.mark.parametrize("query", ["?x=1", "?key=1", "?signature=1"])
def test_show__with_a_query_is_the_same(respond, key, make_generation, query):
    assert compare(respond("GET", f"{URL}/{make_generation().id}{query}", key.token)) in (400, 422)


@pytest.mark.parametrize(
    "query",
    [
        "", "?", "?limit=2", "?limit=0", "?limit=101", "?limit=007", "?limit=1.0", "?limit=1&limit=2",
        "?status=pending",
        "?status=failed&limit=1", "?status=PENDING", "?status=x", "?limit=%32", "?cursor=x", "?cursor=" + "A" * 22,
        "?cursor=AAAAAAAAAAAAAAAAAAAAAB", "?limit=2&status=cancelled&", "?&limit=2", "?limit", "?colour=red",
        "?limit=",
        "?token=a", "?limit=5&limit",
    ],
)  # fmt: skip
def test_list__is_the_same(respond, key, generations, query):
    assert compare(respond("GET", URL + query, key.token)) in (200, 400, 422)


def test_pages__are_the_same(respond, key, make_generation):
    for _ in range(5):
        make_generation()
    path, lengths = f"{URL}?limit=2", []

    while path:
        (status, _, body), through_django = respond("GET", path, key.token)
        assert (status, body) == (200, through_django[2])
        page = json.loads(body)
        lengths.append(len(page["items"]))
        path = page["next_cursor"] and f"{URL}?limit=2&cursor={page['next_cursor']}"

    assert lengths == [2, 2, 1]


BODIES = [
    b'{"prompt": "x", "n": 2, "seed": 7}', b'{"prompt": "x", "n": 0}', b'{"prompt": "x", "n": null}',
    b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"prompt": ""}', b'{"prompt": "x", "prompt": "y"}',
    b'{"prompt": "\\ud800"}',
    b'\xef\xbb\xbf{"prompt": "a BOM"}', b"\xff", b'{"prompt": "x", "width": 65}', b'{"prompt": "x", "colour": 1}',
    b'{"prompt": "x", "seed": -1}', b'{"prompt": "x", "model": "nothing"}', b'{"prompt": "x", "guidance": NaN}',
    b"[" * 9999,
    b'{"prompt": "x", "webhook": "https://example.org"}', b'{"prompt": "x", "webhook": "http://127.0.0.1"}',
    b'{"prompt": "x", "width": "512"}', b'{"prompt": "x\\u0000"}', b'{"prompt": "lg_live_x", "a": {"b": [1]}}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_create__of_odd_bodies_is_the_same(respond, key, body):
    assert compare(respond("POST", URL, key.token, body)) in (201, 400, 422)


FIELDS = {
    "prompt": st.text(max_size=20) | st.text('\u2028é🦊\x00"\\', max_size=5),
    "negative_prompt": st.text(max_size=5),
    "model": st.sampled_from(["default", "sketch", "x", ""]),
    "width": st.sampled_from([64, 512, 2048, 0, 65, 2056, 512.0, True]),
    "steps": st.integers(-1, 151),
    "guidance": st.floats(-1, 31) | st.integers(0, 30),
    "seed": st.none() | st.integers(-(2**64), 2**64) | st.integers(0, 2**53),
    "output_format": st.sampled_from([None, "png", "jpeg", "gif", ""]),
    "quality": st.none() | st.integers(0, 101),
    "keep_metadata": st.sampled_from([None, True, "yes"]),
    "labels": st.dictionaries(st.sampled_from(["a", "b.c", "", "ü"]), st.sampled_from(["", "é", 1]), max_size=2),
    "extra": st.none(),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.fixed_dictionaries({}, optional=FIELDS))
def test_create__is_the_same(respond, make_key, body):
    key = make_key(rate_limit=0)

    status = compare(respond("POST", URL, key.token, json.dumps(body).encode()))

    assert status in (201, 422)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/vnd.api+json", "", "a/b"])
def test_content_type__is_treated_the_same(respond, key, content_type):
    for body in (b'{"prompt": "x"}', b"nothing"):
        compare(respond("POST", URL, key.token, body, **{"Content-Type": content_type}))


@pytest.mark.parametrize("state", UNUSABLE)
def test_unusable_key__is_refused_the_same_way(respond, make_key, state):
    key = make_key()
    ApiKey.all_objects.filter(pk=key.pk).update(**UNUSABLE[state])

    assert compare(respond("POST", URL, key.token, b'{"prompt": "x"}')) == 401
    assert compare(respond("GET", URL, key.token)) == 401


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "bearer x", "Basic eA==", "Bearer lg_live_x", "B\xe9"]
)
def test_missing_key__is_refused_the_same_way(respond, authorization):
    assert compare(respond("GET", URL, Authorization=authorization)) == 401


@pytest.mark.parametrize(
    ("host", "status"), [("example.org", 400), ("local_host", 400), ("LOCALHOST:1", 200), ("", 400)]
)
def test_host__is_checked_the_same_way(respond, key, host, status):
    assert compare(respond("GET", URL, key.token, Host=host)) == status


def test_used_up_limit__is_refused_the_same_way(respond, make_key):
    key = make_key(rate_limit=1)

    first, second = respond("GET", URL, key.token)
    statuses = [compare(respond(*call, key.token, body)) for *call, body in [("GET", URL, None), ("POST", URL, b"{}")]]

    assert (first[0], second[0], statuses) == (200, 429, [429, 429])


def test_call__takes_one_unit_whatever_its_outcome(respond, make_key):
    key = make_key(rate_limit=60)
    outcomes = [("GET", f"{URL}/x", None), ("GET", f"{URL}?limit=0", None), ("POST", URL, b"{}"), ("GET", URL, None)]

    for method, path, body in outcomes:
        respond(method, path, key.token, body)

    assert key.bucket.spent // 60_000_000 in (7, 8)  # a little of it has come back


def test_quota__is_kept_the_same_way(respond, make_key):
    key = make_key(max_pending=2)

    statuses = [compare(respond("POST", URL, key.token, b'{"prompt": "x"}')) for _ in range(3)]

    assert statuses == [201, 429, 429]
    assert Generation.objects.count() == 2


def test_rotated_key__sees_what_its_predecessor_made(respond, key, make_generation):
    generation = make_generation()
    _, token = key.rotate(grace=timedelta(0))

    for path in (f"{URL}/{generation.id}", URL):
        responses = respond("GET", path, token)
        assert compare(responses) == 200
        assert generation.prompt in responses[0][2]


@pytest.mark.anyio
async def test_create__that_no_thread_could_store_in_time_is_refused_as_busy(monkeypatch):
    async def prepare(*_) -> tuple:
        return AuthResult("admitted"), {"prompt": "x"}

    async def refuse(_) -> None:
        raise threads.Busy

    monkeypatch.setattr(fast.threads.API, "run", prepare)
    monkeypatch.setattr(fast._submissions, "add", refuse)

    with pytest.raises(threads.Busy):
        await fast.create(None)


def test_presenter__is_what_the_schema_documents(make_generation, make_completed):
    for generation in (make_generation(), make_completed()):
        shown = presenters.generation(generation, Viewer("http://localhost", generation.api_key_id))

        assert list(shown) == list(GenerationOut.model_fields)
        assert GenerationOut.model_validate(shown)


def test_row__has_the_columns_that_are_shown(make_completed):
    generation = make_completed()
    row = fast.Row(*(getattr(generation, column) for column in fast.COLUMNS))
    viewer = Viewer("http://localhost", generation.api_key_id)

    assert presenters.generation(row, viewer) == presenters.generation(generation, viewer)
    assert set(row.status_name) <= set(string.ascii_lowercase)
