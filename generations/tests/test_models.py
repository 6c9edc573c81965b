import uuid

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from generations import submission
from generations.models import Generation
from generations.scheduling.queues import RENDER_TASK
from generations.status import FINISHED, UNFINISHED, Status

pytestmark = pytest.mark.django_db

COMPLETED = {"status": Status.COMPLETED, "completed_at": timezone.now(), "image_path": "a.png"}
FACTS = {
    "thumbnail_path": "a.thumb.webp",
    "image_width": 64,
    "image_height": 64,
    "image_bytes": 5,
    "image_type": "image/png",
    "image_sha256": "e" * 64,
}


@pytest.fixture
def make_processing(make_generation):
    """A generation whose first attempt is under way."""

    def make() -> Generation:
        generation = make_generation()
        assert generation.start() == 1
        return generation

    return make


@pytest.fixture
def make_finished(make_processing):
    def make(status: Status) -> Generation:
        generation = make_processing()
        ends = {
            Status.COMPLETED: lambda: generation.complete(1, "a.png"),
            Status.FAILED: lambda: generation.fail(1, "no"),
            Status.CANCELLED: generation.cancel,
        }
        assert ends[status]()
        return generation

    return make


def test_id__is_a_uuid_of_version_7_and_sorts_by_time(make_generation):
    first, second = make_generation(), make_generation()

    assert isinstance(first.id, uuid.UUID)
    assert first.id.version == 7
    assert first.id < second.id


def test_create__returns_the_defaults_of_the_database(make_generation):
    generation = make_generation()

    assert generation.status == Status.PENDING
    assert abs(timezone.now() - generation.created_at).total_seconds() < 10


def test_submit__stores_the_row_and_its_job(key, waiting_jobs):
    generation = Generation.objects.submit(api_key=key, prompt="a lighthouse")

    assert Generation.objects.get() == generation
    assert waiting_jobs() == [str(generation.id)]


def test_submit__is_a_transaction_of_its_own(key):
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        Generation.objects.submit(api_key=key, prompt="a lighthouse")


def test_submit__stores_no_row_without_its_job(key, waiting_jobs, monkeypatch):
    broken = submission.INSERT.replace(f"'{RENDER_TASK}'", "NULL")  # a job without a task's name is refused
    monkeypatch.setattr(submission, "INSERT", broken)

    with pytest.raises(IntegrityError):
        Generation.objects.submit(api_key=key, prompt="a lighthouse")

    assert not Generation.all_objects.exists()


def test_start__returns_growing_attempt_numbers(make_processing):
    generation = make_processing()

    assert generation.start() == 2
    assert generation.status == Status.PROCESSING
    assert generation.started_at >= generation.created_at


def test_start__records_the_start_of_the_latest_attempt(make_processing):
    generation = make_processing()
    first = generation.started_at

    generation.start()

    assert generation.started_at > first


def test_complete__stores_the_path_of_the_image(make_processing):
    generation = make_processing()

    assert generation.complete(1, "generations/a.png")

    assert (generation.status, generation.image_path) == (Status.COMPLETED, "generations/a.png")
    assert generation.completed_at > generation.started_at


def test_fail__stores_a_truncated_message(make_processing):
    generation = make_processing()

    assert generation.fail(1, "x" * 2000)

    assert (generation.status, generation.error_message) == (Status.FAILED, "x" * 1000)


@pytest.mark.parametrize(
    "change",
    [
        lambda generation: generation.complete(1, "late.png"),
        lambda generation: generation.fail(1, "late"),
        lambda generation: generation.requeue(1, counts_as_attempt=True),
    ],
)
def test_superseded_attempt__changes_nothing(make_processing, change):
    generation = make_processing()
    generation.start()

    assert not change(generation)

    assert (generation.status, generation.attempts, generation.image_path) == (Status.PROCESSING, 2, None)
    assert not generation.is_current(1)
    assert generation.is_current(2)


def test_is_at__is_true_for_the_latest_attempt_and_its_status_only(make_processing):
    generation = make_processing()
    generation.complete(generation.start(), "a.png")

    assert generation.is_at(2, Status.COMPLETED)
    assert not generation.is_at(1, Status.COMPLETED)
    assert not generation.is_at(2, Status.PENDING)


@pytest.mark.parametrize("status", FINISHED)
@pytest.mark.parametrize(
    "change",
    [
        lambda generation: generation.start(),
        lambda generation: generation.complete(1, "late.png"),
        lambda generation: generation.fail(1, "late"),
        lambda generation: generation.requeue(1, counts_as_attempt=False),
        lambda generation: generation.cancel(),
    ],
)
def test_finished_state__is_never_left(make_finished, status, change):
    generation = make_finished(status)
    before = Generation.objects.values().get()

    assert not change(generation)

    assert Generation.objects.values().get() == before


def test_requeue__counts_the_attempt_only_if_requested(make_processing):
    generation = make_processing()

    assert generation.requeue(1, counts_as_attempt=False)
    assert (generation.status, generation.counted_attempts, generation.started_at) == (Status.PENDING, 0, None)

    attempt = generation.start()
    assert generation.requeue(attempt, counts_as_attempt=True)
    assert (attempt, generation.counted_attempts) == (2, 1)


@pytest.mark.parametrize("status", UNFINISHED)
def test_delete__cancels_an_unfinished_generation(make_generation, status):
    generation = make_generation(status=status)

    generation.delete()

    assert (generation.status, generation.is_deleted) == (Status.CANCELLED, True)
    assert generation.completed_at is not None


def test_delete__of_a_finished_generation_keeps_its_status(make_finished):
    generation = make_finished(Status.COMPLETED)
    completed_at = generation.completed_at

    generation.delete()

    assert (generation.status, generation.completed_at) == (Status.COMPLETED, completed_at)


def test_transition__of_a_row_deleted_meanwhile_is_refused(make_processing):
    generation = make_processing()
    Generation.objects.filter(pk=generation.pk).delete()

    assert not generation.complete(1, "late.png")
    assert generation.status == Status.CANCELLED


@pytest.mark.parametrize("facts", [{}, FACTS], ids=["none", "all"])
def test_completed__has_all_image_facts_or_none(make_generation, facts):
    generation = make_generation(**COMPLETED, **facts)

    assert {name: getattr(generation, name) for name in FACTS} == {**dict.fromkeys(FACTS), **facts}


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"status": 5}, "generation_(status_is_known|end_is_dated)"),
        ({"status": Status.CANCELLED}, "generation_end_is_dated"),
        ({"completed_at": timezone.now()}, "generation_end_is_dated"),
        ({"status": Status.COMPLETED, "completed_at": timezone.now()}, "generation_completed_has_image"),
        ({"image_path": "a.png"}, "generation_completed_has_image"),
        ({"status": Status.FAILED, "completed_at": timezone.now()}, "generation_failed_has_error"),
        ({"error_message": "no"}, "generation_failed_has_error"),
        (FACTS, "generation_image_facts_are_whole"),
        *(({**COMPLETED, **FACTS, name: None}, "generation_image_facts_are_whole") for name in FACTS),
        *(({**COMPLETED, name: FACTS[name]}, "generation_image_facts_are_whole") for name in FACTS),
        ({**COMPLETED, **FACTS, "image_width": 0}, "generation_image_facts_are_sound"),
        ({**COMPLETED, **FACTS, "image_height": 0}, "generation_image_facts_are_sound"),
        ({**COMPLETED, **FACTS, "image_bytes": 0}, "generation_image_facts_are_sound"),
        ({**COMPLETED, **FACTS, "image_sha256": "E" * 64}, "generation_image_facts_are_sound"),
        ({"width": 0}, "generation_sizes_are_positive"),
        ({"height": -8}, "generation_sizes_are_positive"),
        ({"steps": 0}, "generation_sizes_are_positive"),
        ({"requeues": 1}, "generation_attempts_are_counted"),
    ],
)
def test_constraint__rejects_an_invalid_row(make_generation, fields, constraint):
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        make_generation(**fields)
