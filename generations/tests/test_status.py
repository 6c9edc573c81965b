"""`manage.py status` and the status page of the admin."""

import json
import re
import signal
import subprocess
from io import StringIO
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import OperationalError

from generations import monitoring
from generations.templatetags.figures import duration
from lockngen.tests.support.processes import manage

pytestmark = pytest.mark.django_db
PAGE = "/admin/status/"


def run(*arguments: str) -> str:
    printed = StringIO()
    call_command("status", *arguments, stdout=printed)
    return printed.getvalue()


def test_command__prints_text(make_generation, make_key, make_worker):
    generation = make_generation(api_key=make_key(name="Ann"), model="flux")
    worker = make_worker(1, 3, generation)
    generation.start()
    make_generation(api_key=generation.api_key, model="flux")

    text = run()

    assert "sketch:   ok" in text
    assert f"{worker}" in text
    assert f"renders {generation.id}" in text
    assert "1 waiting, the oldest for" in text
    assert " 100%" in text
    assert "Webhooks: 0 to send, 0 of them again; 0 failed." in text
    assert "Kept: finished forever, deleted forever, webhooks 30 days." in text


def test_command__shows_workers_without_a_heartbeat(make_worker, make_generation, sql):
    make_worker(75)
    gone = make_worker(100, 20, make_generation())
    sql("DELETE FROM procrastinate_workers WHERE id = %s", gone)

    text = run()

    assert re.search(r"\d+ +silent for 7\d s +none +–", text)
    assert re.search(r"– +gone +renders [0-9a-f-]{36} +2\d s", text)


def test_command__shows_that_nothing_runs():
    text = run()

    assert "worker  state  job  for\nnone" in text
    assert "0 waiting; 0 running" in text


def test_command__prints_json():
    facts = json.loads(run("--json"))

    assert set(facts) == {
        "at",
        "renderers",
        "unavailable_models",
        "workers",
        "queue",
        "throughput",
        "webhooks",
        "database",
        "pool",
        "retention",
    }


def test_command__reports_an_unavailable_database_on_one_line(monkeypatch):
    monkeypatch.setattr(monitoring, "gather", Mock(side_effect=OperationalError("no\nconnection")))

    with pytest.raises(CommandError, match=r"The database can't be queried: no connection$"):
        run()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "often"])
def test_command__refuses_an_invalid_interval(seconds):
    with pytest.raises(CommandError, match=r"--watch.*a number of seconds"):
        run(f"--watch={seconds}")


def test_watch__continues_after_an_outage_and_ends_with_ctrl_c(monkeypatch, capsys):
    answers = [monitoring.gather(), OperationalError("no connection"), monitoring.gather(), KeyboardInterrupt]
    monkeypatch.setattr(monitoring, "gather", Mock(side_effect=answers))

    text = run("--watch", "0.1", "--json")

    assert [json.loads(line)["queue"]["waiting"] for line in text.splitlines()] == [0, 0]
    assert "can't be queried: no connection" in capsys.readouterr().err


def accept_sigint() -> None:
    """Processes started in the background of a shell ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_watch__as_a_process_ends_without_an_error():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with manage("status", "--watch=0.1", "--json", **pipes, preexec_fn=accept_sigint) as watch:
        json.loads(watch.stdout.readline())
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=30)

    assert (watch.returncode, errors.strip()) == (0, "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0.0 s"), (4.24, "4.2 s"), (75, "75 s"), (720, "12 min"), (20_000, "6 h"), (300_000, "3 days")],
)
def test_duration__has_one_readable_unit(seconds, text):
    assert duration(seconds) == text


def test_page__shows_the_facts_of_the_command(admin_client, make_generation, make_key, make_worker):
    generation = make_generation(api_key=make_key(name="<Ann>"), model="flux")
    make_worker(1, 3, generation)
    make_worker(100)
    generation.start()

    page = admin_client.get(PAGE)

    text = page.content.decode()
    assert page.status_code == 200
    assert set(page.context["facts"]) == set(json.loads(run("--json")))
    assert f'<a href="/admin/generations/generation/{generation.id}/change/">' in text
    assert "&lt;Ann&gt;" in text
    assert "<td>1</td>" in text
    assert text.count('class="bad">silent') == 1


def test_page__reloads_without_a_script(admin_client):
    text = admin_client.get(PAGE).content.decode()

    assert '<meta http-equiv="refresh" content="5">' in text
    assert "no-store" in admin_client.get(PAGE)["Cache-Control"]
    assert "<script>" not in text


def test_page__is_linked_from_the_admin_s_index(admin_client):
    assert f'<a href="{PAGE}">Status</a>' in admin_client.get("/admin/").content.decode()


@pytest.mark.parametrize("fields", [{"is_staff": False}, {"is_staff": True, "is_active": False}, None])
def test_page__is_for_staff_alone(client, fields):
    if fields:
        client.force_login(User.objects.create(username="ben", **fields))

    answer = client.get(PAGE)

    assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={PAGE}")


@pytest.mark.parametrize(("codename", "status"), [("view_generation", 200), ("view_apikey", 403)])
def test_page__needs_the_permission_to_view_generations(client, codename, status):
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename=codename))
    client.force_login(user)

    assert client.get(PAGE).status_code == status
