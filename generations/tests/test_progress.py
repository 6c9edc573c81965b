"""The progress that the API shows."""

import pytest

from generations.progress.reports import Report
from generations.tests.support.payloads import payload_of
from lockngen.tests.support.waiting import wait_until


def test_progress__is_that_of_the_latest_notification(api, make_generation, listening):
    generation = make_generation()
    show = lambda: api.get(f"/api/v1/generations/{generation.id}").json()["progress"]  # noqa: E731

    assert show() == 0
    attempt = generation.start()
    wait_until(lambda: listening.is_listening)
    generation.publish(Report(attempt, 40))
    assert wait_until(show) == 40
    assert api.get("/api/v1/generations").json()["items"][0]["progress"] == 40

    attempt = generation.start()
    assert show() == 0
    generation.publish(Report(attempt, 5))
    assert wait_until(show) == 5

    generation.complete(attempt, "a.png")
    assert show() == 100


@pytest.mark.parametrize("end", ["fail", "cancel", "requeue"])
def test_progress__of_an_ended_attempt_is_0(api, make_generation, hub, end):
    generation = make_generation()
    attempt = generation.start()
    hub.receive(payload_of(generation.id, Report(attempt, 40)))
    assert api.get(f"/api/v1/generations/{generation.id}").json()["progress"] == 40

    if end == "cancel":
        generation.cancel()
    else:
        getattr(generation, end)(attempt, *{"fail": ["No."], "requeue": [True]}[end])

    assert api.get(f"/api/v1/generations/{generation.id}").json()["progress"] == 0
