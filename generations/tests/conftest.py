import asyncio
import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from io import BytesIO
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from PIL import Image

from generations import renderers, tasks
from generations.images import files, formats
from generations.models import Generation
from generations.progress import notifications
from generations.progress.notifications import ProgressHub
from generations.renderers.base import RenderRequest
from generations.submission import Submission
from generations.tests.support.comfyui.process import Double
from generations.tests.support.comfyui.renders import make_renderer
from generations.tests.support.encoded import PNG
from generations.tests.support.images_api import ImagesApi
from generations.tests.support.raw_server import RawServer
from generations.tests.support.streams import Client
from generations.webhooks.models import Event
from lockngen.database import listener
from lockngen.tests.support.processes import free_port

IMAGE = formats.RenderedImage(b"an image", 64, 64, b"a little")


@pytest.fixture(scope="session")
def double_process(tmp_path_factory):
    process = Double(free_port(), tmp_path_factory.mktemp("comfyui"))
    yield process
    process.stop()


@pytest.fixture
def double(double_process) -> Double:
    """A ComfyUI without a model, in a process of its own, with neither prompts nor faults."""
    double_process.reset()
    return double_process


@pytest.fixture
def serve_bytes():
    """Serve these pieces to every request, with a pause after each. Returns host and port."""
    servers = []

    def serve(pieces: Sequence[bytes], pause: float = 0) -> str:
        servers.append(RawServer(pieces, pause))
        return servers[-1].place

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def images_api():
    """A server with OpenAI's images API, without faults."""
    api = ImagesApi()
    yield api
    api.close()


@pytest.fixture
def make_request():
    def make(**fields) -> RenderRequest:
        defaults = {"negative_prompt": "", "model": "blank", "width": 64, "height": 64, "steps": 30, "guidance": 7.0}
        return RenderRequest(**{"id": uuid4(), "prompt": "a lighthouse", "seed": None, **defaults, **fields})

    return make


@pytest.fixture
def sql():
    def sql(statement: str, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    return sql


@pytest.fixture
def make_worker(sql):
    """A worker with a heartbeat that is `heartbeat_age` seconds old, and jobs that have been running for `seconds`."""

    def make(
        heartbeat_age: float = 1, seconds: float = 3, *generations: Generation, task: str = "generations.render"
    ) -> int:
        ((worker,),) = sql(
            """INSERT INTO procrastinate_workers (last_heartbeat)
               VALUES (now() - make_interval(secs => %s)) RETURNING id""",
            heartbeat_age,
        )
        for generation in generations:
            ((job,),) = sql(
                """INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)
                   VALUES ('render', %s, %s, 'doing', %s) RETURNING id""",
                task,
                json.dumps({"generation_id": str(generation.id)}),
                worker,
            )
            sql("UPDATE procrastinate_events SET at = now() - interval '1 hour' WHERE job_id = %s", job)
            sql(
                """INSERT INTO procrastinate_events (job_id, type, at) SELECT %s, 'started', now() - before
                   FROM unnest(ARRAY[interval '1 hour', make_interval(secs => %s)]) before""",
                job,
                seconds,
            )
        return worker

    return make


@pytest.fixture
def render(double):
    """Render a request with the double, and return the image."""

    def render(request, progress=lambda percent: None, **options) -> Image.Image:
        return Image.open(BytesIO(make_renderer(double, **options).render(request, progress)))

    return render


@pytest.fixture
def make_completed(make_generation):
    """A generation that is completed with this image."""

    def make(image: bytes = PNG, **fields) -> Generation:
        generation = make_generation(**fields)
        attempt = generation.start()
        assert generation.complete(attempt, **files.store(generation, attempt, formats.read(image)))
        return generation

    return make


@pytest.fixture
def run(make_context):
    """Run the task of a generation as a worker does, and reload the generation."""

    def run(generation, context=None) -> None:
        try:
            tasks.render(context or make_context(), str(generation.id))
        finally:
            if Generation.all_objects.filter(pk=generation.pk).exists():  # it may be hard-deleted
                generation.refresh_from_db()

    return run


@pytest.fixture
def render_with(monkeypatch):
    """Replace the renderers by a function of the request and the progress callback."""

    def replace(function) -> None:
        pool = SimpleNamespace(render=function, cancel=lambda id: None, settle=lambda request: request)
        monkeypatch.setattr(renderers, "get_pool", lambda: pool)

    return replace


@pytest.fixture
def clock(monkeypatch):
    """The clock of the render task, which a test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop in which streams wait, as in a web process."""
    with closing(asyncio.new_event_loop()) as loop:
        yield loop


@pytest.fixture
def open_stream(loop):
    """Read the response of an event stream, which is closed after the test."""
    with ExitStack() as opened:
        yield lambda answer: opened.enter_context(closing(Client(answer, loop)))


@pytest.fixture
def hub(monkeypatch) -> ProgressHub:
    """The hub of this process, which has received nothing."""
    monkeypatch.setattr(notifications, "hub", hub := ProgressHub())
    return hub


@pytest.fixture
def listening(transactional_db, monkeypatch, hub):
    """The listener of this process, which may start."""
    monkeypatch.setattr(listener, "TICK", 0.02)
    listening = listener.Listener(notifications.CHANNEL, hub.receive, hub.refresh_all)
    monkeypatch.setattr(notifications, "listener", listening)
    yield listening
    listening.stop()


@pytest.fixture
def images_of_web(settings, web):
    """The folder of the images of the module's web, in which this process stores images too."""
    settings.MEDIA_ROOT = web.images
    return web.images


@pytest.fixture
def retention_days(settings):
    settings.RETENTION_FINISHED, settings.RETENTION_DELETED = 30, 7


@pytest.fixture
def make_finished(make_generation):
    """A generation with two files of 8 bytes that was completed `days` ago, and deleted `deleted_days` ago."""

    def make(days: float = 31, deleted_days: float | None = None, **fields) -> Generation:
        generation = make_generation(**fields)
        attempt = generation.start()
        generation.complete(attempt, **files.store(generation, attempt, IMAGE))
        ages = {"completed_at": Now() - timedelta(days=days)}
        if deleted_days is not None:
            ages |= {"is_deleted": True, "deleted_at": Now() - timedelta(days=deleted_days)}
        Generation.all_objects.filter(pk=generation.pk).update(**ages)
        return generation

    return make


@pytest.fixture
def stored_files(image_folder):
    """Returns the paths of the files in the storage."""
    return lambda: {str(path.relative_to(image_folder)) for path in image_folder.rglob("*") if path.is_file()}


@pytest.fixture
def make_webhook_generation(key, make_generation):
    """A generation whose submission has a webhook for all events."""

    def make(webhook: str = "https://example.org/hook", webhook_events: list[str] = Event.values, **fields):
        submission = Submission.objects.create(
            api_key=key,
            body_sha256="a" * 64,
            webhook=webhook,
            webhook_events=webhook_events,
            interface=fields.pop("interface", "native"),
            base_url="http://lockn.example",
        )
        return make_generation(submission=submission, **fields)

    return make


@pytest.fixture
def without_collector():
    """Without garbage collection, which would release what the code leaves in cycles."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def make_prediction(make_completed, make_generation, sql):
    """The generations of one call with these statuses."""

    def make(*statuses: str) -> list[Generation]:
        made = []
        ((submission,),) = sql(
            "INSERT INTO generations_submission (api_key_id, body_sha256) SELECT id, repeat('0', 64)"
            " FROM apikeys_apikey LIMIT 1 RETURNING id"
        )
        for status in statuses:
            generation = (make_completed if status == "completed" else make_generation)(submission_id=submission)
            if status in ("processing", "failed"):
                attempt = generation.start()
            if status == "failed":
                generation.fail(attempt, "It is too large.")
            if status == "cancelled":
                generation.cancel()
            made.append(generation)
        return made

    return make
