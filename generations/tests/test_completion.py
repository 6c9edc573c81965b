"""How an image reaches the storage and its generation, whatever happens in between."""

from types import SimpleNamespace

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason

from generations import renderers
from generations.images import files, formats
from generations.models import Generation
from generations.rendering import completion
from generations.status import Status
from generations.tests.support.encoded import PNG, encoded
from lockngen.database import retry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def renderer(monkeypatch):
    """A renderer that always returns the same image."""
    fake = SimpleNamespace(render=lambda request, progress: PNG, cancel=lambda id: None, settle=lambda request: request)
    monkeypatch.setattr(renderers, "get_pool", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def quick(change_policy):
    change_policy("STORAGE", first_pause=0.001)


@pytest.fixture
def while_storing(monkeypatch):
    """Call a function after each file that is stored. If it raises, storing fails."""

    def do(act) -> None:
        save = default_storage.save

        def save_and_act(name, content):
            stored = save(name, content)
            act()
            return stored

        monkeypatch.setattr(default_storage, "save", save_and_act, raising=False)

    return do


@pytest.fixture
def unavailable_storage(while_storing, settings):
    settings.STORAGE_RETRY_TIMEOUT = 0.05

    def fail():
        raise OSError("no route to host")

    while_storing(fail)


def test_completion__records_the_facts_of_the_image(make_generation, run, stored_files):
    generation = make_generation()

    run(generation)

    assert generation.status == Status.COMPLETED
    assert (generation.image_bytes, generation.image_sha256) == (len(PNG), formats.read(PNG).sha256)
    assert stored_files() == set(files.paths(generation))
    assert len(stored_files()) == 2


def test_completion__stores_without_a_transaction_or_a_connection(make_generation, make_request, while_storing):
    held = []
    while_storing(lambda: held.append((connection.in_atomic_block, connection.connection)))
    generation = make_generation()

    completion.store_and_complete(generation, make_request(attempt=generation.start()), PNG, lambda: None)

    assert held == [(False, None)] * 2


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_completion__of_a_generation_cancelled_meanwhile_removes_its_files(
    make_generation, run, while_storing, stored_files, end
):
    generation = make_generation()
    while_storing(getattr(Generation.objects.get(pk=generation.pk), end))

    run(generation)

    assert (generation.status, generation.image_path) == (Status.CANCELLED, None)
    assert stored_files() == set()


def test_completion__of_a_generation_hard_deleted_meanwhile_removes_its_files(
    make_generation, run, while_storing, stored_files
):
    generation = make_generation()
    while_storing(Generation.all_objects.filter(pk=generation.pk).hard_delete)

    run(generation)

    assert stored_files() == set()


def test_superseded_attempt__does_not_affect_the_files_of_the_completed_one(
    make_generation, run, renderer, stored_files, image_folder
):
    generation = make_generation()
    later = Generation.objects.get(pk=generation.pk)
    other = formats.read(encoded("PNG", (72, 72)))

    def be_superseded(request, progress):
        attempt = later.start()
        later.complete(attempt, **files.store(later, attempt, other))
        return PNG

    renderer.render = be_superseded
    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 2)
    assert generation.image_sha256 == other.sha256
    assert stored_files() == set(files.paths(generation))
    assert (image_folder / generation.image_path).read_bytes() == other.content


def test_superseded_attempt__does_not_affect_the_files_of_one_that_is_storing(
    make_generation, run, renderer, stored_files
):
    generation = make_generation()
    stored = set()

    def be_superseded(request, progress):
        next_attempt = Generation.objects.get(pk=generation.pk).start()
        files.store(generation, next_attempt, formats.read(PNG))
        stored.update(stored_files())
        return PNG

    renderer.render = be_superseded
    run(generation)

    assert (generation.status, generation.attempts) == (Status.PROCESSING, 2)
    assert stored_files() == stored
    assert len(stored) == 2


@pytest.mark.parametrize("end", [None, "cancel", "delete"])
def test_render__removes_the_files_of_a_worker_that_was_killed(make_generation, run, stored_files, end):
    generation = make_generation()
    files.store(generation, generation.start(), formats.read(encoded("JPEG")))
    if end:
        getattr(generation, end)()

    run(generation)

    assert generation.status == (Status.CANCELLED if end else Status.COMPLETED)
    assert stored_files() == set(files.paths(generation))


def test_render__of_a_completed_generation_keeps_its_files(make_completed, run, stored_files):
    generation = make_completed()

    run(generation)

    assert stored_files() == set(files.paths(generation))
    assert len(stored_files()) == 2


def test_completion__whose_commit_result_is_lost_keeps_its_files(
    make_generation, run, lose_commits, stored_files, renderer, caplog
):
    caplog.set_level("INFO")
    generation = make_generation()

    def render(request, progress):
        lose_commits(1)
        return PNG

    renderer.render = render
    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    assert stored_files() == set(files.paths(generation))
    assert len(stored_files()) == 2
    assert "not wanted" not in caplog.text  # it isn't considered superseded


def test_completion__whose_commit_result_stays_unknown_keeps_its_files(make_generation, run, stored_files, monkeypatch):
    """The row may refer to the files."""
    generation = make_generation()

    def fail(*arguments):
        raise retry.InDoubt("the connection is lost")

    monkeypatch.setattr(completion, "_complete", fail)

    with pytest.raises(retry.InDoubt):
        run(generation)

    assert len(stored_files()) == 2
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


def test_storage__that_is_unavailable_for_a_moment_is_retried(make_generation, run, while_storing, stored_files):
    failures = [OSError("no route"), RuntimeError("an exception of the storage")]

    def fail():
        if failures:
            raise failures.pop()

    while_storing(fail)
    generation = make_generation()

    run(generation)

    assert (failures, generation.status, generation.attempts) == ([], Status.COMPLETED, 1)
    assert stored_files() == set(files.paths(generation))


def test_storage__that_stays_unavailable_does_not_count_as_an_attempt(
    make_generation, run, unavailable_storage, settings
):
    settings.RENDER_MAX_ATTEMPTS = 1
    generation = make_generation()

    for _ in range(3):
        with pytest.raises(files.StorageUnavailable):
            run(generation)

    assert (generation.status, generation.attempts, generation.counted_attempts) == (Status.PENDING, 3, 0)


def test_storage__that_is_available_again_gets_only_the_image_of_the_next_attempt(
    make_generation, run, renderer, unavailable_storage, monkeypatch, stored_files
):
    generation = make_generation()
    with pytest.raises(files.StorageUnavailable):
        run(generation)
    monkeypatch.undo()
    monkeypatch.setattr(renderers, "get_pool", lambda: renderer)

    run(generation)

    assert generation.status == Status.COMPLETED
    assert stored_files() == set(files.paths(generation))


def test_unavailable_storage__does_not_delay_a_worker_that_stops(
    make_generation, run, make_context, while_storing, settings
):
    settings.STORAGE_RETRY_TIMEOUT = 60
    context = make_context()
    context.abort_reason = lambda: AbortReason.SHUTDOWN

    def stop():
        context.should_abort = lambda: True
        raise OSError("no route to host")

    while_storing(stop)
    generation = make_generation()

    with pytest.raises(JobAborted):
        run(generation, context)

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


def test_unavailable_storage__is_not_retried_for_a_cancelled_generation(
    make_generation, run, while_storing, settings, stored_files
):
    settings.STORAGE_RETRY_TIMEOUT = 60
    generation = make_generation()

    def cancel():
        Generation.objects.get(pk=generation.pk).cancel()
        raise OSError("no route to host")

    while_storing(cancel)
    run(generation)

    assert generation.status == Status.CANCELLED
    assert stored_files() == set()


def test_unreadable_image__counts_as_an_attempt_and_is_reported(make_generation, run, renderer, settings, stored_files):
    settings.RENDER_MAX_ATTEMPTS = 1
    renderer.render = lambda request, progress: b"<html>no image</html>"
    generation = make_generation()

    run(generation)

    assert generation.status == Status.FAILED
    assert generation.error_message.endswith("The renderer returned an image that can't be read.")
    assert stored_files() == set()
