"""The embedded PostgreSQL from its first start to the release by its last user."""

from __future__ import annotations

import signal
from pathlib import Path

import environ
import psycopg

from lockngen.database.embedded import Server, files, running
from lockngen.tests.support.embedded_servers import FORK, count_visit, in_child, is_stopped, query, result_of


def test_acquire__first_start_creates_database(make_server, folder):
    server = make_server(folder / "missing/data")

    url = server.acquire()

    assert query(url, "SELECT current_database() || ' of ' || current_user") == "lockngen of lockn"
    assert query(url, "SHOW fsync") == "on"
    assert (server.home / "password").stat().st_mode & 0o777 == 0o600


def test_release__leaves_no_socket_folder(make_server):
    server = make_server()
    server.acquire()
    socket = Path((server.home / "socket").read_text())
    assert socket.is_dir()

    server.release()

    assert not socket.exists()
    assert not (server.home / "socket").exists()


def test_url__ignores_pgport(make_server, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")

    url = make_server().acquire()
    config = environ.Env.db_url_config(url)

    assert config["ENGINE"] == "django.db.backends.postgresql"
    parameters = {"user": config["USER"], "password": config["PASSWORD"], "port": config["PORT"]}
    with psycopg.connect(dbname=config["NAME"], **parameters, **config["OPTIONS"]) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("lockngen",)
    assert query(url, "SELECT 1") == 1


def test_running__data_survive_stop_and_start_on_a_long_path_with_spaces_and_signs(folder):
    data = folder / ("a long path " * 9) / ("größer $HOME `id` \"x\" 'y' " * 5) / "data"

    visits = [count_visit(data), count_visit(data)]

    assert len(str(data)) > 200
    assert visits == [1, 2]
    assert is_stopped(Server(data))


def test_release__last_user_stops_server(make_server):
    first, second = make_server(), make_server()
    first.acquire()
    url = second.acquire()

    first.release()
    answer = query(url, "SELECT 1")
    second.release()

    assert answer == 1
    assert is_stopped(second)


def test_release__ignores_a_killed_user(make_server):
    server = make_server()
    process, receiver = in_child(lambda: [Server(server.home.parent).acquire(), signal.pause()])
    while not (server.cluster / "postmaster.pid").exists():
        assert not receiver.poll(0.05)
    url = server.acquire()
    process.kill()
    process.join()
    assert query(url, "SELECT 1") == 1

    server.release()

    assert is_stopped(server)


def test_release__in_a_forked_child_keeps_the_parent_s_lock(make_server):
    server = make_server()
    url = server.acquire()

    result_of(in_child(lambda: [server.release(), server.acquire(), server.release()]))

    assert query(url, "SELECT 1") == 1
    assert files.try_lock(server.home / "users.lock") is None


def test_acquire__six_at_once_on_empty_folder(folder):
    barrier = FORK.Barrier(6)

    def acquire_together():
        barrier.wait()
        with running(folder / "data") as url:
            query(url, "SELECT 1")
            barrier.wait(timeout=30)
            return url

    urls = {result_of(child) for child in [in_child(acquire_together) for _ in range(6)]}

    assert len(urls) == 1
    assert is_stopped(Server(folder / "data"))
