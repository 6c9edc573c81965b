"""Checks during a render whether its attempt is still current."""

import threading
import time
from unittest.mock import Mock

import pytest
from django.db import OperationalError

from generations import tasks
from generations.models import Generation
from generations.rendering import monitor
from generations.status import Status
from generations.tests.support.encoded import PNG

# The task returns its connection while it renders, which would end the transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("end", ["cancel", "delete", "start"])
def test_render__stops_when_its_attempt_is_not_current(make_generation, run, render_with, monkeypatch, end):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    generation = make_generation()

    def render(request, progress):
        progress(1)
        getattr(Generation.objects.get(pk=generation.pk), end)()
        progress(2)
        pytest.fail("The render continued.")

    render_with(render)
    run(generation)

    assert generation.status == (Status.PROCESSING if end == "start" else Status.CANCELLED)


def test_check__is_made_once_in_an_interval(make_generation, run, render_with, monkeypatch, clock):
    checked = []
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 1)
    monkeypatch.setattr(tasks.AttemptMonitor, "is_current", lambda self, percent: checked.append(percent) or True)

    def render(request, progress):
        for percent in range(10):
            progress(percent)
            clock.now += 0.3
        return PNG

    render_with(render)
    run(make_generation())

    assert checked == [4, 8]


def test_check__during_an_outage_of_the_database_lets_the_render_continue(
    make_generation, run, render_with, monkeypatch
):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    for method in ("is_current", "publish"):
        monkeypatch.setattr(Generation, method, Mock(side_effect=OperationalError("the connection is lost")))
    generation = make_generation()

    def render(request, progress):
        progress(0)
        progress(1)
        return PNG

    render_with(render)
    run(generation)

    assert generation.status == Status.COMPLETED


def test_check__does_not_wait_for_a_silent_database(make_generation, run, render_with, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    monkeypatch.setattr(monitor, "ANSWER_TIMEOUT", 0.05)
    over, checks, waited = threading.Event(), [], []
    for method in ("is_current", "publish"):
        monkeypatch.setattr(Generation, method, lambda *_: checks.append(True) or over.wait(20))

    def render(request, progress):
        started_at = time.monotonic()
        for percent in range(3):
            progress(percent)
        waited.append(time.monotonic() - started_at)
        over.set()
        return PNG

    render_with(render)
    run(make_generation())

    assert len(checks) == 1
    assert waited[0] < 2
