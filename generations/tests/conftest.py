import json
from datetime import timedelta
from io import BytesIO
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from PIL import Image

from generations import tasks
from generations.images import files as images
from generations.images import formats
from generations.models import Generation
from generations.renderers import RenderRequest
from generations.tests.support.comfyui.process import Double
from generations.tests.support.comfyui.renders import make_renderer
from generations.tests.support.encoded import PNG
from lockngen.tests.conftest import free_port

IMAGE = formats.Picture(b"an image", 64, 64, b"a little")


@pytest.fixture(scope="session")
def double_process(tmp_path_factory):
    process = Double(free_port(), tmp_path_factory.mktemp("comfyui"))
    yield process
    process.stop()


@pytest.fixture
def double(double_process) -> Double:
    """A ComfyUI without a model, in a process of its own, with nothing to do and nothing wrong with it."""
    double_process.empty()
    return double_process


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
    """A worker that was last heard of so many seconds ago, and the jobs it has in hand for so long."""

    def make(silent: float = 1, seconds: float = 3, *generations: Generation, task: str = "generations.render") -> int:
        ((worker,),) = sql(
            """INSERT INTO procrastinate_workers (last_heartbeat)
               VALUES (now() - make_interval(secs => %s)) RETURNING id""",
            silent,
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
    """Render a request and return the picture; `progress` is what the renderer calls."""

    def render(request, progress=lambda percent: None, **options) -> Image.Image:
        return Image.open(BytesIO(make_renderer(double, **options).render(request, progress)))

    return render


@pytest.fixture
def make_completed(make_generation):
    """A generation that an attempt has completed with this image."""

    def make(image: bytes = PNG, **fields) -> Generation:
        generation = make_generation(**fields)
        attempt = generation.start()
        assert generation.complete(attempt, **images.store(generation, attempt, formats.read(image)))
        return generation

    return make


@pytest.fixture
def run(make_context):
    """Run the task for a generation, as a worker would, and read the outcome back."""

    def run(generation, context=None) -> None:
        try:
            tasks.render(context or make_context(), str(generation.id))
        finally:
            if Generation.all_objects.filter(pk=generation.pk).exists():  # it may be gone for good
                generation.refresh_from_db()

    return run


@pytest.fixture
def make_finished(make_generation):
    """A completed generation with two files of 8 bytes, `days` after its end and, if asked, after its deletion."""

    def make(days: float = 31, deleted_days: float | None = None, **fields) -> Generation:
        generation = make_generation(**fields)
        attempt = generation.start()
        generation.complete(attempt, **images.store(generation, attempt, IMAGE))
        ages = {"completed_at": Now() - timedelta(days=days)}
        if deleted_days is not None:
            ages |= {"is_deleted": True, "deleted_at": Now() - timedelta(days=deleted_days)}
        Generation.all_objects.filter(pk=generation.pk).update(**ages)
        return generation

    return make


@pytest.fixture
def files(image_folder):
    """The files in the storage."""
    return lambda: {str(path.relative_to(image_folder)) for path in image_folder.rglob("*") if path.is_file()}
