"""Create calls that are repeated."""

import json
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from procrastinate.contrib.django.models import ProcrastinateJob

from apikeys.models import ApiKey
from generations.models import Generation
from generations.submission import AlreadySubmitted, Submission
from generations.tests.support.calls import URL, assert_problem
from lockngen.tests.support.web import Caller, call_at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def call(api):
    """Create generations with the body and these headers."""

    def call(body: dict | str, token: str = "", **headers: str):
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        text = body if isinstance(body, str) else json.dumps(body)
        return api.post(URL, text, content_type="application/json", headers={**headers, **authorization})

    return call


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def retry(count: int) -> dict[str, str]:
    return {"X-Stainless-Retry-Count": str(count)}


def is_replay(first, second) -> bool:
    """Whether the second response has the generations of the first."""
    assert (first.status_code, second.status_code) == (201, 201)
    assert "Idempotent-Replayed" not in first
    has_same = first.json()["id"] == second.json()["id"]
    assert (second.get("Idempotent-Replayed") == "true") == has_same
    return has_same


def test_key__makes_a_repeated_call_return_the_first_generation(call):
    first = call({"prompt": "a cat", "seed": 3}, **keyed("a"))

    second = call('{"seed": 3, "prompt": "a cat"}', **keyed("a"))

    assert is_replay(first, second)
    assert second["Location"] == first["Location"]
    assert (Generation.objects.count(), ProcrastinateJob.objects.count()) == (1, 1)


def test_key__distinguishes_calls(call):
    first = call({"prompt": "a cat"}, **keyed("a"))

    assert not is_replay(first, call({"prompt": "a cat"}, **keyed("b")))
    assert not is_replay(first, call({"prompt": "a cat"}))


def test_key__with_another_body_is_refused(call):
    call({"prompt": "a cat"}, **keyed("a"))

    answer = call({"prompt": "a dog"}, **keyed("a"))

    assert_problem(answer, 422)
    assert answer.json()["type"] == "urn:lockngen:problem:idempotency-key-reused"
    assert Generation.objects.count() == 1


def test_key__of_another_client_is_independent(call, make_key):
    first = call({"prompt": "a cat"}, **keyed("a"))

    assert not is_replay(first, call({"prompt": "a cat"}, make_key().token, **keyed("a")))


def test_key__holds_after_the_api_key_was_rotated(call, key):
    first = call({"prompt": "a cat"}, **keyed("a"))
    _, token = key.rotate(grace=timedelta(0))

    assert is_replay(first, call({"prompt": "a cat"}, token, **keyed("a")))


@pytest.mark.parametrize("text", ["", " ", "a b", "é", "x" * 256])
def test_key__must_be_1_to_255_visible_characters(call, text):
    answer = call({"prompt": "a cat"}, **keyed(text))

    assert_problem(answer, 422)
    assert "Idempotency-Key" in answer.json()["detail"]


def test_key__of_255_characters_is_accepted(call):
    assert call({"prompt": "a cat"}, **keyed("~" * 255)).status_code == 201


@pytest.mark.parametrize("change", [Generation.delete, lambda each: (each.delete(), each.restore())])
def test_replay__finds_a_generation_that_was_deleted_or_restored(call, change):
    first = call({"prompt": "a cat"}, **keyed("a"))
    change(Generation.objects.get())

    second = call({"prompt": "a cat"}, **keyed("a"))

    assert is_replay(first, second)
    assert second.json()["status"] == "cancelled"


def test_replay__does_not_need_a_model_that_is_gone(call, monkeypatch):
    first = call({"prompt": "a cat", "model": "sketch"}, **keyed("a"))
    monkeypatch.setattr("generations.renderers.pool.RendererPool.unavailable", lambda self: {"sketch": "it is gone"})

    assert_problem(call({"prompt": "a cat", "model": "sketch"}, **keyed("b")), 422)
    assert is_replay(first, call({"prompt": "a cat", "model": "sketch"}, **keyed("a")))


def test_replay__does_not_count_against_the_quota(call, make_key):
    token = make_key(max_pending=1).token
    first = call({"prompt": "a cat"}, token, **keyed("a"))

    assert is_replay(first, call({"prompt": "a cat"}, token, **keyed("a")))


def test_refused_call__does_not_use_its_key(call, make_key):
    key = make_key(max_pending=1)
    blocking = Generation.objects.submit(api_key=key, prompt="x")
    assert_problem(call({"prompt": "a cat"}, key.token, **keyed("a")), 429)
    assert_problem(call({"prompt": ""}, key.token, **keyed("b")), 422)
    assert Submission.objects.count() == 0

    blocking.cancel()

    assert call({"prompt": "a cat"}, key.token, **keyed("a")).status_code == 201


def test_key__is_free_again_when_its_generations_are_gone(call):
    first = call({"prompt": "a cat", "n": 2}, **keyed("a"))
    one, other = Generation.objects.order_by("id")

    one.hard_delete()
    assert Submission.objects.count() == 1
    other.hard_delete()

    assert Submission.objects.count() == 0
    assert call({"prompt": "a dog"}, **keyed("a")).json() != first.json()


def test_same_key__at_once_stores_one_generation(web, key):
    callers = [Caller(web.port, key.token) for _ in range(50)]
    for caller in callers:
        caller.headers |= keyed("at-once")

    answers = call_at_once(callers, lambda caller: caller.ask(URL, '{"prompt": "a cat"}'), times=1)

    assert {answer.status for answer in answers} == {201}
    assert len({json.loads(answer.body)["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 49
    assert (Generation.objects.count(), ProcrastinateJob.objects.count(), Submission.objects.count()) == (1, 1, 1)


def test_retry__of_a_client_library_returns_the_first_generation(call):
    first = call({"prompt": "a cat"}, **retry(0))

    assert is_replay(first, call({"prompt": "a cat"}, **retry(1)))
    assert is_replay(first, call({"prompt": "a cat"}, **retry(2)))
    assert not is_replay(first, call({"prompt": "a dog"}, **retry(1)))
    assert not is_replay(first, call({"prompt": "a cat"}, **retry(0)))


def test_retry__is_a_new_call_after_10_minutes(call):
    first = call({"prompt": "a cat"}, **retry(0))
    Submission.objects.update(created_at=Now() - timedelta(minutes=10, seconds=1))

    assert not is_replay(first, call({"prompt": "a cat"}, **retry(1)))


def test_retry__that_arrives_before_the_first_call_is_stored_waits_for_it(call, key, monkeypatch):
    """The retry has found nothing yet when the first call is committed."""
    first = call({"prompt": "a cat"}, **retry(0))
    found = iter([None])
    find = Submission.find_earlier
    monkeypatch.setattr(Submission, "find_earlier", lambda self: next(found, self) and find(self))

    assert is_replay(first, call({"prompt": "a cat"}, **retry(1)))


@pytest.mark.parametrize("count", ["x", "-1", "²", ""])
def test_retry_count__that_is_no_number_is_ignored(call, count):
    assert call({"prompt": "a cat"}, **{"X-Stainless-Retry-Count": count}).status_code == 201
    assert Submission.objects.count() == 0


def test_submit_call__stores_nothing_if_the_key_is_used(key):
    call = Submission(api_key=key, key="a", body_sha256="0" * 64)
    Generation.objects.submit_call(call, [{"prompt": "x"}])

    with pytest.raises(AlreadySubmitted):
        Generation.objects.submit_call(Submission(api_key=key, key="a", body_sha256="1" * 64), [{"prompt": "y"}])

    assert [generation.prompt for generation in Generation.objects.all()] == ["x"]


KEYS, BODIES = st.sampled_from("ab"), st.sampled_from(["cat", "dog"])


class Calls(RuleBasedStateMachine):
    """Calls of one client in any order, beside a model of what they return."""

    call = None

    @initialize()
    def begin(self) -> None:
        self.stored: dict[str, tuple[str, str]] = {}  # by key: the body and the generation

    @rule(key=KEYS, body=BODIES)
    def call_with_a_key(self, key: str, body: str) -> None:
        answer = self.call({"prompt": body}, **keyed(key))
        known = self.stored.get(key)
        if known and known[0] != body:
            assert answer.status_code == 422
            return
        shown = answer.json()
        assert (answer.status_code, "Idempotent-Replayed" in answer) == (201, bool(known))
        assert self.stored.setdefault(key, (body, shown["id"])) == (body, shown["id"])

    @rule(body=BODIES)
    def call_without_a_key(self, body: str) -> None:
        answer = self.call({"prompt": body})
        assert answer.json()["id"] not in {id for _, id in self.stored.values()}

    @rule(key=KEYS, change=st.sampled_from([Generation.delete, Generation.restore, Generation.cancel]))
    def change(self, key: str, change) -> None:
        if key in self.stored:
            change(Generation.all_objects.get(pk=self.stored[key][1]))

    @rule(key=KEYS)
    def purge(self, key: str) -> None:
        if key in self.stored:
            Generation.all_objects.get(pk=self.stored.pop(key)[1]).hard_delete()

    def teardown(self) -> None:
        Generation.all_objects.all().hard_delete()
        assert Submission.objects.count() == 0


def test_calls_in_any_order__follow_the_rules(call, make_key):
    token = make_key(rate_limit=0).token
    machine = type(
        "TestedCalls", (Calls,), {"call": staticmethod(lambda body, **headers: call(body, token, **headers))}
    )

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

    assert ApiKey.objects.exists()
