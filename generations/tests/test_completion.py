"""How a rendered picture reaches the storage and its generation's row, whoever or whatever comes in between."""

from types import SimpleNamespace

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason

from generations import renderers
from generations.images import files as images
from generations.images import formats
from generations.models import Generation
from generations.rendering import completion
from generations.status import Status
from generations.tests.support.encoded import PNG, encoded
from lockngen.database import retry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def renderer(monkeypatch):
    """It renders the same picture at once."""
    fake = SimpleNamespace(render=lambda request, progress: PNG, cancel=lambda id: None, settle=lambda request: request)
    monkeypatch.setattr(renderers, "get_pool", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(completion, "FIRST_PAUSE", 0.001)


@pytest.fixture
def while_storing(monkeypatch):
    """Do something each time a file has been stored, and let that fail where it raises."""

    def do(act) -> None:
        save = default_storage.save

        def save_and_act(name, content):
            stored = save(name, content)
            act()
            return stored

        monkeypatch.setattr(default_storage, "save", save_and_act, raising=False)

    return do


@pytest.fixture
def storage_is_away(while_storing, settings):
    settings.STORAGE_RETRY_TIMEOUT = 0.05

    def away():
        raise OSError("no route to host")

    while_storing(away)


def test_deliver__completes_the_generation_with_what_is_known_of_its_image(make_generation, run, files):
    generation = make_generation()

    run(generation)

    assert generation.status == Status.COMPLETED
    assert (generation.image_bytes, generation.image_sha256) == (len(PNG), formats.read(PNG).sha256)
    assert files() == set(images.paths(generation))
    assert len(files()) == 2


def test_deliver__stores_without_a_transaction_or_a_connection(make_generation, make_request, while_storing):
    held = []
    while_storing(lambda: held.append((connection.in_atomic_block, connection.connection)))
    generation = make_generation()

    completion.store_and_complete(generation, make_request(attempt=generation.start()), PNG, lambda: None)

    assert held == [(False, None)] * 2


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_deliver__leaves_nothing_of_what_was_cancelled_while_it_was_stored(
    make_generation, run, while_storing, files, end
):
    generation = make_generation()
    while_storing(getattr(Generation.objects.get(pk=generation.pk), end))

    run(generation)

    assert (generation.status, generation.image_path) == (Status.CANCELLED, None)
    assert files() == set()


def test_deliver__leaves_nothing_of_what_is_gone_for_good(make_generation, run, while_storing, files):
    generation = make_generation()
    while_storing(Generation.all_objects.filter(pk=generation.pk).hard_delete)

    run(generation)

    assert files() == set()


def test_deliver__late_neither_replaces_nor_removes_what_the_winner_has_stored(
    make_generation, run, renderer, files, image_folder
):
    generation = make_generation()
    winner = Generation.objects.get(pk=generation.pk)
    other = formats.read(encoded("PNG", (72, 72)))

    def be_overtaken(request, progress):
        attempt = winner.start()
        winner.complete(attempt, **images.store(winner, attempt, other))
        return PNG

    renderer.render = be_overtaken
    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 2)
    assert generation.image_sha256 == other.sha256
    assert files() == set(images.paths(generation))
    assert (image_folder / generation.image_path).read_bytes() == other.content


def test_deliver__late_leaves_what_the_next_attempt_has_stored_and_not_reported_of(
    make_generation, run, renderer, files
):
    generation = make_generation()
    stored = set()

    def be_overtaken(request, progress):
        next_attempt = Generation.objects.get(pk=generation.pk).start()
        images.store(generation, next_attempt, formats.read(PNG))
        stored.update(files())
        return PNG

    renderer.render = be_overtaken
    run(generation)

    assert (generation.status, generation.attempts) == (Status.PROCESSING, 2)
    assert files() == stored
    assert len(stored) == 2


@pytest.mark.parametrize("end", [None, "cancel", "delete"])
def test_render__removes_what_a_worker_left_that_was_killed_before_it_could_say_so(make_generation, run, files, end):
    generation = make_generation()
    images.store(generation, generation.start(), formats.read(encoded("JPEG")))
    if end:
        getattr(generation, end)()

    run(generation)

    assert generation.status == (Status.CANCELLED if end else Status.COMPLETED)
    assert files() == set(images.paths(generation))


def test_render__again_of_what_is_completed_leaves_its_files(make_completed, run, files):
    generation = make_completed()

    run(generation)

    assert files() == set(images.paths(generation))
    assert len(files()) == 2


def test_deliver__whose_commit_was_answered_by_nobody_keeps_its_files(
    make_generation, run, lose_commits, files, renderer, caplog
):
    caplog.set_level("INFO")
    generation = make_generation()

    def render(request, progress):
        lose_commits(1)
        return PNG

    renderer.render = render
    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    assert files() == set(images.paths(generation))
    assert len(files()) == 2
    assert "not wanted" not in caplog.text  # nor was it taken for a loser


def test_deliver__in_doubt_for_good_keeps_its_files(make_generation, run, lose_commits, files, renderer, monkeypatch):
    """Until the database can be asked what became of it, nobody may remove what it may name."""
    generation = make_generation()

    def stay_away(*arguments):
        raise retry.InDoubt("the connection is lost")

    monkeypatch.setattr(completion, "_complete", stay_away)

    with pytest.raises(retry.InDoubt):
        run(generation)

    assert len(files()) == 2
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


def test_storage__that_is_away_for_a_moment_is_tried_again(make_generation, run, while_storing, files):
    failures = [OSError("no route"), RuntimeError("a kind of its own")]

    def fail():
        if failures:
            raise failures.pop()

    while_storing(fail)
    generation = make_generation()

    run(generation)

    assert (failures, generation.status, generation.attempts) == ([], Status.COMPLETED, 1)
    assert files() == set(images.paths(generation))


def test_storage__that_stays_away_costs_no_try(make_generation, run, storage_is_away, settings):
    settings.RENDER_MAX_ATTEMPTS = 1
    generation = make_generation()

    for _ in range(3):
        with pytest.raises(images.StorageUnavailable):
            run(generation)

    assert (generation.status, generation.attempts, generation.counted_attempts) == (Status.PENDING, 3, 0)


def test_storage__that_was_away_gets_the_next_attempt_s_image_and_no_other(
    make_generation, run, renderer, storage_is_away, monkeypatch, files
):
    generation = make_generation()
    with pytest.raises(images.StorageUnavailable):
        run(generation)
    monkeypatch.undo()
    monkeypatch.setattr(renderers, "get_pool", lambda: renderer)

    run(generation)

    assert generation.status == Status.COMPLETED
    assert files() == set(images.paths(generation))


def test_storage__that_is_away_is_not_waited_for_by_a_worker_that_stops(
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


def test_storage__that_is_away_is_not_waited_for_where_nobody_waits(
    make_generation, run, while_storing, settings, files
):
    settings.STORAGE_RETRY_TIMEOUT = 60
    generation = make_generation()

    def cancel():
        Generation.objects.get(pk=generation.pk).cancel()
        raise OSError("no route to host")

    while_storing(cancel)
    run(generation)

    assert generation.status == Status.CANCELLED
    assert files() == set()


def test_picture__that_can_not_be_read_costs_a_try_and_is_reported(make_generation, run, renderer, settings, files):
    settings.RENDER_MAX_ATTEMPTS = 1
    renderer.render = lambda request, progress: b"<html>no image</html>"
    generation = make_generation()

    run(generation)

    assert generation.status == Status.FAILED
    assert generation.error_message.endswith("The renderer made a picture that can't be read.")
    assert files() == set()
