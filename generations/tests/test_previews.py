"""The image of a generation while it is rendered: what is kept of it, for how long, and for whom."""

import json
from dataclasses import asdict
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from django.db import OperationalError
from django.test import Client
from PIL import Image

from generations import tasks
from generations.api.schemas import ProgressOut
from generations.api.signed_urls import Signatures
from generations.models import Generation
from generations.progress import notifications
from generations.progress.previews import Preview, PreviewManager
from generations.progress.reports import Report
from generations.renderers.base import Percent
from generations.rendering import monitor
from generations.status import Status
from generations.tests.support.calls import URL, assert_problem
from generations.tests.support.comfyui.faults import PREVIEW_SIZE, widened
from generations.tests.support.comfyui.renders import make_renderer
from generations.tests.support.encoded import PNG, encoded

pytestmark = pytest.mark.django_db

ENDS = {
    "complete": lambda generation, attempt: generation.complete(attempt, "a.png"),
    "fail": lambda generation, attempt: generation.fail(attempt, "It is too large."),
    "cancel": lambda generation, attempt: generation.cancel(),
    "requeue": lambda generation, attempt: generation.requeue(attempt, counts_as_attempt=True),
    "supersede": lambda generation, attempt: generation.start(),
}
ended = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)


@pytest.fixture
def previewed(make_generation) -> Generation:
    """A generation that is being rendered, with a preview."""
    generation = make_generation()
    assert generation.publish(Report(generation.start(), 40, preview=1), b"a preview")
    return generation


def address(generation) -> str:
    return f"{URL}/{generation.id}/preview"


def test_preview__is_shown_without_a_cache(api, previewed):
    answer = api.get(address(previewed))

    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, b"a preview", "image/webp")
    assert answer["Cache-Control"] == "no-store"
    assert api.get(address(previewed))["RateLimit-Remaining"] == answer["RateLimit-Remaining"]


def test_preview__is_replaced_by_the_next(api, previewed):
    previewed.publish(Report(1, 60, preview=2), b"another")

    assert api.get(address(previewed)).content == b"another"
    assert Preview.objects.count() == 1


def test_preview__of_another_key_and_an_unknown_one_are_not_found(api, client_of, make_key, previewed, make_generation):
    for answer in (client_of(make_key()).get(address(previewed)), api.get(f"{URL}/x/preview")):
        assert_problem(answer, 404)
    assert_problem(api.get(address(make_generation())), 404, "no preview")
    assert Client().get(address(previewed)).status_code == 401


@ended
def test_preview__ends_with_its_attempt(api, previewed, end):
    end(previewed, 1)

    assert_problem(api.get(address(previewed)), 404, "no preview")

    Preview.objects.delete_ended()
    assert not Preview.objects.exists()


def test_preview__of_a_deleted_generation_is_not_found(api, previewed):
    previewed.delete()

    assert_problem(api.get(address(previewed)), 404)


def test_preview__of_a_removed_generation_is_removed(previewed):
    previewed.hard_delete()

    Preview.objects.delete_ended()

    assert not Preview.objects.exists()


def test_task__keeps_the_previews_of_running_attempts(previewed):
    tasks.remove_previews(timestamp=0)

    assert Preview.objects.of(previewed) == b"a preview"


@ended
def test_superseded_attempt__publishes_nothing(previewed, end):
    end(previewed, 1)

    assert not previewed.publish(Report(1, 60, preview=2), b"too late")

    assert bytes(Preview.objects.get().image) == b"a preview"


def test_superseded_attempt__does_not_replace_the_preview_of_a_later_one(make_generation, sql):
    """The later attempt begins while the statement of the earlier one runs."""
    generation = make_generation()
    generation.start(), generation.start()
    generation.publish(Report(2, 1, preview=1), b"of the second")
    sql("UPDATE generations_generation SET attempts = 1")
    Preview.objects.publish(generation.pk, 1, b"of the first")
    sql("UPDATE generations_generation SET attempts = 2")

    assert Preview.objects.of(generation) == b"of the second"


def shown_in(event: bytes) -> dict:
    shown = json.loads(dict(line.split(": ", 1) for line in event.decode().strip().split("\n"))["data"])
    assert shown.keys() - {"id"} == ProgressOut.model_fields.keys()
    return shown


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/api/v1/generations/{}/events", "/api/v1/events"])
def test_event__has_a_signed_address_of_each_preview(api, previewed, hub, loop, path):
    def publish(number: int) -> None:
        report = Report(1, 40, preview=number)
        hub.receive(json.dumps({"id": str(previewed.id), **asdict(report)}))

    def next_address() -> str:
        frames = iter(lambda: loop.run_until_complete(anext(answer.frames)), None)
        return next(
            preview for frame in frames if b"event: progress" in frame and (preview := shown_in(frame)["preview"])
        )

    publish(1)
    answer = api.get(path.format(previewed.id))
    first = next_address()
    publish(2)
    second = next_address()
    loop.run_until_complete(answer.frames.aclose())
    answer.close()

    assert first != second
    for preview in (first, second):
        parts = urlsplit(preview)
        assert parts.path == address(previewed)
        assert Client().get(f"{parts.path}?{parts.query}").content == b"a preview"
        assert Client().get(f"{parts.path.replace('/preview', '/events')}?{parts.query}").status_code != 200


def test_signed_address__ends_with_its_key(api, key, previewed):
    query = f"number=1&signature={Signatures(key.pk).of(str(previewed.pk), 'preview')}"
    assert Client().get(f"{address(previewed)}?{query}").status_code == 200

    key.revoke()

    assert_problem(Client().get(f"{address(previewed)}?{query}"), 401)


@pytest.fixture
def rendered(make_generation, run, render_with, monkeypatch):
    """Render with these progress reports; return the generation, and the previews after each."""
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", -1)
    monkeypatch.setattr(monitor, "ANSWER_TIMEOUT", 30)

    def rendered(*percents) -> tuple[Generation, list[bytes | None]]:
        generation, previews = make_generation(), []

        def render(request, progress):
            for percent in percents:
                progress(percent)
                generation.refresh_from_db()
                previews.append(Preview.objects.of(generation))
            return PNG

        render_with(render)
        run(generation)
        return generation, previews

    return rendered


@pytest.mark.django_db(transaction=True)
def test_render__publishes_its_previews_as_small_images(rendered):
    large = encoded("PNG", (1024, 768), colour="red")

    generation, (none, small, same, other) = rendered(
        1, Percent(10, preview=large), Percent(20, preview=large), Percent(30, preview=encoded("JPEG"))
    )

    image = Image.open(BytesIO(small))
    assert (none, image.format, image.size) == (None, "WEBP", (512, 384))
    assert small == same != other
    assert len(small) < 2000
    assert generation.status == Status.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_render__publishes_each_preview_once(rendered, monkeypatch):
    published, publish = [], PreviewManager.publish
    monkeypatch.setattr(
        PreviewManager, "publish", lambda *arguments: published.append(arguments[2:]) or publish(*arguments)
    )
    numbers, notify = [], notifications.notify_expression
    monkeypatch.setattr(
        notifications, "notify_expression", lambda id, report: numbers.append(report.preview) or notify(id, report)
    )
    first, second = encoded("PNG"), encoded("JPEG")

    rendered(
        1, *(Percent(percent, preview=image) for percent, image in ((2, first), (2, first), (3, first), (3, second)))
    )

    assert len(published) == 2
    assert numbers == [None, 1, 1, 2]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "broken", [b"", b"<html>no image</html>", PNG[:-30], widened(PNG), encoded("PNG", (2049, 2048)), encoded("GIF")]
)
def test_render__ignores_a_preview_that_is_no_image_or_too_large(rendered, broken):
    generation, previews = rendered(Percent(10, preview=broken), Percent(20, preview=broken))

    assert previews == [None, None]
    assert generation.status == Status.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_render__survives_the_loss_of_its_previews(rendered, monkeypatch):
    def fail(*_) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(PreviewManager, "publish", fail)

    generation, previews = rendered(Percent(10, preview=PNG), Percent(20, preview=PNG))

    assert previews == [None, None]
    assert generation.status == Status.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_render__with_comfyui_publishes_its_previews(double, make_generation, run, render_with, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", -1)
    monkeypatch.setattr(monitor, "ANSWER_TIMEOUT", 30)
    double.set(seconds=0.5)
    generation = make_generation(model="blank")
    render_with(make_renderer(double).render)

    run(generation)

    image = Image.open(BytesIO(Preview.objects.get(generation=generation, attempt=1).image))
    assert (generation.status, image.format, image.size) == (Status.COMPLETED, "WEBP", PREVIEW_SIZE)
    assert image.getpixel((5, 5))[0] > 250
