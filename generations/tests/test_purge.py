"""`manage.py purge`: its output, and that a dry run changes nothing. Orphans are tested in test_orphans.py."""

from io import StringIO
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command

from generations.images import retention
from generations.images.pending_deletion import PendingDeletion
from generations.management.commands import purge as purge_command
from generations.models import Generation

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def retention_days(settings):
    settings.RETENTION_FINISHED, settings.RETENTION_DELETED = 30, 7


def run(*arguments: str) -> str:
    printed = StringIO()
    call_command("purge", *arguments, stdout=printed, stderr=printed)
    return printed.getvalue()


def test_command__prints_what_it_removed(make_finished):
    for _ in range(3):
        make_finished()

    assert run() == "Removed 3 generations and 6 files (48 bytes).\n"
    assert run() == "Removed 0 files (0 bytes).\n"


def test_dry_run__changes_nothing(make_finished, stored_files):
    for _ in range(2):
        make_finished(), make_finished(days=31, deleted_days=20), make_finished(days=1)
    before = list(Generation.all_objects.values()), stored_files()

    assert run("--dry-run", "--batch", "1") == "Would remove 4 generations and 8 files (64 bytes).\n"

    assert (list(Generation.all_objects.values()), stored_files()) == before
    assert not PendingDeletion.objects.exists()


def test_command__without_limits_keeps_everything(make_finished, settings):
    settings.RETENTION_FINISHED = settings.RETENTION_DELETED = 0
    make_finished()

    assert "RETENTION_FINISHED and RETENTION_DELETED are 0" in run()
    assert Generation.objects.count() == 1


def test_command__prints_its_progress(make_finished, monkeypatch):
    monkeypatch.setattr(purge_command, "REPORT_INTERVAL", 0)
    for _ in range(2):
        make_finished()

    assert run("--batch", "1").splitlines()[0] == "1 generation and 2 files (16 bytes) …"


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_command__refuses_an_invalid_batch(number):
    with pytest.raises(CommandError, match=r"--batch.*a whole number of at least 1"):
        run(f"--batch={number}")


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [(KeyboardInterrupt, "continues from here", 130), (OSError("no\nroute"), "no route$", 1)],
)
def test_command__reports_an_error_on_one_line(make_finished, monkeypatch, error, message, code):
    monkeypatch.setattr(retention, "_delete_batch", Mock(side_effect=error))

    with pytest.raises(CommandError, match=message) as raised:
        run()

    assert raised.value.returncode == code
