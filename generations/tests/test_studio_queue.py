"""The studio's queue: what is shown of unfinished and failed generations, and what a visitor can do with them."""

import json
import re
from dataclasses import asdict
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client

from generations.models import Generation
from generations.progress.reports import Report
from generations.status import Status
from generations.studio import explanations, queue
from lockngen.environment import BASE_DIR

pytestmark = pytest.mark.django_db


@pytest.fixture
def studio(key) -> Client:
    browser = Client(headers={"Accept-Language": "en"})
    browser.post("/studio/sign-in", {"token": key.token})
    return browser


@pytest.fixture
def submit(key):
    return lambda **fields: Generation.objects.submit(api_key=key, prompt="a lighthouse", **fields)


@pytest.fixture
def make_failed(make_generation):
    def make(message: str = "There is no such model any more.", **fields) -> Generation:
        generation = make_generation(**fields)
        generation.fail(generation.start(), message)
        return generation

    return make


def text(answer) -> str:
    return " ".join(answer.content.decode().split())


def test_queue__is_empty_at_first(studio):
    assert "Nothing is waiting." in text(studio.get("/studio/queue"))


def test_queue__has_what_is_rendered_first_at_the_top(studio, submit):
    submit(model="sketch")
    second = submit(model="sketch")
    second.start()

    answer = studio.get("/studio/queue")

    assert [each.status for each in answer.context["generations"]] == [Status.PROCESSING, Status.PENDING]
    assert "Position 1" in text(answer)
    assert 'data-count="2"' in text(answer)


def test_queue__shows_the_first_fifty(studio, submit):
    for _ in range(queue.MAX_SHOWN + 2):
        submit()

    answer = studio.get("/studio/queue")

    assert len(answer.context["generations"]) == queue.MAX_SHOWN
    assert f"The first {queue.MAX_SHOWN} are shown." in text(answer)
    assert 'data-count="52"' in text(answer)


def test_cancel__ends_a_generation(studio, submit):
    generation = submit()

    answer = studio.post(f"/studio/generations/{generation.id}/cancel")

    generation.refresh_from_db()
    assert generation.status == Status.CANCELLED
    assert "Nothing is waiting." in text(answer)


def test_preview__is_shown_for_the_session_only(studio, submit, hub):
    generation = submit()
    address = f"/studio/previews/{generation.id}"
    assert "Preview of a lighthouse" not in text(studio.get("/studio/queue"))
    report = Report(generation.start(), 40, preview=3)
    generation.publish(report, b"a preview")
    hub.receive(json.dumps({"id": str(generation.id), **asdict(report)}))

    assert f'alt="Preview of a lighthouse" data-src="{address}" src="{address}?number=3"' in text(
        studio.get("/studio/queue")
    )
    assert studio.get(f"{address}?number=3").content == b"a preview"
    assert studio.get(f"{address}?number=3")["Cache-Control"] == "no-store"
    assert Client().get(address).status_code == 302


def test_preview__of_another_key_is_not_found(studio, make_generation, make_key):
    generation = make_generation(api_key=make_key())
    generation.publish(Report(generation.start(), 40, preview=1), b"a preview")

    assert studio.get(f"/studio/previews/{generation.id}").status_code == 404


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("There is no such model any more.", "Choose another model"),
        ("Rendering took longer than 300 seconds.", "fewer steps"),
        ("The renderer refused the request: no.", "Change the prompt"),
        ("Rendering failed after 3 attempts.", "ask an operator"),
        ("Something else.", "Try again."),
    ],
)
def test_failure__says_what_to_do(studio, make_failed, message, advice):
    make_failed(message)

    answer = text(studio.get("/studio/queue"))

    assert message.replace("'", "&#x27;") in answer
    assert advice in answer


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("There is no such model any more.", "Dieses Modell gibt es nicht mehr."),
        ("Rendering took longer than 300 seconds.", "Das Rendern dauerte länger als 300 Sekunden."),
        ("Rendering failed after 3 attempts. No.", "Das Rendern ist nach 3 Versuchen fehlgeschlagen. No."),
        ("The renderer refused the request: 100%.", "The renderer refused the request: 100%."),
    ],
)
def test_failure__is_translated_except_texts_of_renderers(studio, make_failed, message, shown):
    make_failed(message)

    answer = studio.get("/studio/queue", headers={"Accept-Language": "de"})

    assert f'<span class="why">{shown} <strong>' in text(answer)


def test_reasons__are_those_that_are_stored():
    for start, text in explanations.REASONS:
        assert re.match(start, str(text).replace("%s", "3"))


def test_again__submits_the_same_parameters(studio, make_failed):
    failed = make_failed(seed=7, model="sketch")

    answer = studio.post(f"/studio/generations/{failed.id}/again")

    new = Generation.objects.get(status=Status.PENDING)
    assert (new.prompt, new.seed, new.model) == (failed.prompt, 7, "sketch")
    assert "no such model" not in text(answer)


def test_again__takes_a_unit_of_the_limit(make_failed, make_key):
    key = make_key(rate_limit=1)
    browser = Client()
    browser.post("/studio/sign-in", {"token": key.token})
    first, second = make_failed(api_key=key), make_failed(api_key=key)
    browser.post(f"/studio/generations/{first.id}/again")

    answer = browser.post(f"/studio/generations/{second.id}/again")

    assert "used up" in text(answer)
    assert Generation.objects.filter(status=Status.PENDING).count() == 1


def test_dismiss__hides_a_failure_from_the_queue_only(studio, make_failed):
    failed = make_failed()

    studio.post(f"/studio/generations/{failed.id}/dismiss")

    assert list(studio.get("/studio/queue").context["failures"]) == []
    assert Generation.objects.filter(pk=failed.pk).exists()


def test_failures__of_another_day_are_not_shown(studio, make_failed):
    failed = make_failed()
    Generation.objects.filter(pk=failed.pk).update(completed_at=Now() - timedelta(days=2))

    assert list(studio.get("/studio/queue").context["failures"]) == []


@pytest.mark.parametrize("action", ["cancel", "again"])
def test_stranger_s_generation__is_out_of_reach(studio, make_failed, make_key, action):
    failed = make_failed(api_key=make_key())

    assert studio.post(f"/studio/generations/{failed.id}/{action}").status_code == 404
    assert Generation.objects.count() == 1


def test_events__need_a_session(db):
    assert Client().get("/studio/events")["Location"] == "/"


def test_remedies__are_for_messages_that_exist():
    """A remedy whose message was reworded would never be shown."""
    modules = [*(BASE_DIR / "generations/renderers").rglob("*.py"), *(BASE_DIR / "generations").glob("*.py")]
    sources = "".join(path.read_text() for path in modules)

    for starts, _ in explanations.REMEDIES:
        for start in starts.split("|"):
            assert f'"{start.partition(" .*")[0]}' in sources, start
