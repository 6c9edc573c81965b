"""Concurrent transitions of one key: only one applies."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection

from apikeys.audit import Action
from apikeys.models import ApiKey
from apikeys.querysets import TransitionRefused

pytestmark = pytest.mark.django_db(transaction=True)
CONNECTIONS = 3  # a pool has four connections by default, and the test has one of them


def race(act: Callable[[ApiKey], object], key: ApiKey) -> list:
    """Run `act` on several connections at once and return the results."""
    barrier = Barrier(CONNECTIONS, timeout=20)

    def run(_) -> object:
        try:
            same = ApiKey.all_objects.get(pk=key.pk)
            barrier.wait()
            return act(same)
        except TransitionRefused as refused:
            return refused
        finally:
            connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(run, range(CONNECTIONS)))


def test_revoke__applies_once(key):
    assert sorted(race(ApiKey.revoke, key)) == [False] * (CONNECTIONS - 1) + [True]
    assert [event.action for event in key.events.all()] == [Action.REVOKED]


@pytest.mark.parametrize("grace", [timedelta(0), timedelta(hours=1)])
def test_rotate__applies_once(key, grace):
    results = race(lambda key: key.rotate(grace=grace), key)

    (rotated,) = [result for result in results if not isinstance(result, TransitionRefused)]
    assert ApiKey.objects.usable_key(rotated[1]).rotated_from == key
    assert ApiKey.objects.count() == 2
    assert [event.action for event in key.events.all()] == [Action.ROTATED]
