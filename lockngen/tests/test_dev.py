"""`manage.py dev` as a newcomer runs it: real processes, an embedded PostgreSQL of its own, HTTP from outside."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from io import BytesIO

import psutil
import pytest
from PIL import Image

from lockngen.environment import BASE_DIR
from lockngen.management.commands import dev as command
from lockngen.tests.support.dev import URL
from lockngen.tests.support.embedded_servers import end, is_alive
from lockngen.tests.support.processes import free_port

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def dev(make_dev):
    return make_dev(is_first_start=True)


def test_dev__prints_a_curl_line_that_works_as_pasted(dev):
    line = dev.greeting[2].removeprefix("Try it: ")

    done = subprocess.run(line, shell=True, capture_output=True, text=True)

    assert json.loads(done.stdout)["status"] == "pending", done.stderr


def test_readme_s_tour__works_as_pasted(dev, tmp_path):
    (tour,) = re.findall(r"```sh\n(.*?)```", (BASE_DIR / "README.md").read_text(), re.DOTALL)

    done = subprocess.run(
        ["bash", "-ec", tour.replace(":8000/", f":{dev.port}/")], cwd=tmp_path, capture_output=True, text=True
    )

    lines = re.sub("}(?={|retry:)", "}\n", done.stdout).splitlines()
    answers = [json.loads(line) for line in lines if line.startswith("{")]
    assert done.returncode == 0, done.stderr
    assert answers[0]["width"] == 1024
    assert answers[0]["id"] in [item["id"] for item in answers[1]["items"]]
    assert answers[3]["id"] == answers[0]["id"]
    assert answers[0]["id"] not in [item["id"] for item in dev.newest()]
    assert answers[-1]["status"] == "completed"
    with Image.open(tmp_path / "image.png") as image:
        assert image.size == (1024, 576)


def test_stream_of_the_api_s_documentation__works_as_pasted(dev):
    examples = re.findall(r"```sh\n(.*?)```", (BASE_DIR / "docs/api.md").read_text(), re.DOTALL)
    (example,) = [each for each in examples if "/events" in each]

    done = subprocess.run(
        ["bash", "-ec", example.replace(":8000/", f":{dev.port}/")], capture_output=True, text=True, timeout=30
    )

    events = re.findall(r"event: (\w+)\ndata: (.*)\n", done.stdout)
    assert [name for name, _ in events][-2:] == ["progress", "end"], done
    assert json.loads(events[-1][1]) == dev.newest()[0]
    assert json.loads(events[-1][1])["status"] == "completed"


def test_console__shows_requests_and_generations_without_housekeeping(dev):
    id = dev.create(width=64, height=64)["id"]
    dev.wait_for(id, "completed")

    for line in (f"POST {URL} 201, ", f"GET {URL}/{id} 200, ", f"Generation {id} is completed."):
        dev.wait_until(lambda line=line: line in dev.output(), seconds=5)
    assert "ended with status" not in dev.output()
    assert "Starting job" not in dev.output()
    assert "/ht/live" not in dev.output()


def test_dev__that_already_runs_is_reported_in_one_line(dev):
    other = dev.manage("dev")

    assert (other.returncode, other.stdout) == (1, "")
    assert re.fullmatch(r"CommandError: LockN Gen already runs on .*\n", other.stderr)
    assert dev.create()["status"] == "pending"


RARE = ["migrate", "makemigrations --check", "showmigrations", "shell -c pass", "check"]


@pytest.mark.parametrize(
    "command", ["apikey create Ann", *(pytest.param(command, marks=pytest.mark.faults) for command in RARE)]
)
def test_command__needs_no_configuration(dev, dev_folder, command):
    done = dev.manage(*command.split(), LOCKNGEN_DATA=str(dev_folder / "fresh"))

    assert done.returncode == 0, done.stderr


@pytest.mark.faults
def test_dev__requeues_a_render_when_it_stops_and_completes_it_after_the_next_start(make_dev):
    dev = make_dev(RENDERER_URL="sketch:?seconds=60", RENDER_GRACE="0.5")
    id = dev.create(width=64, height=64)["id"]
    dev.wait_for(id, "processing")
    lines = iter(dev.open(f"{URL}/{id}/events"))
    events = (json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: "))
    assert next(events)["status"] == "processing"
    assert next(events)["progress"] > 0
    started = time.monotonic()

    assert dev.stop() == 0
    assert time.monotonic() - started < 15
    dev.environment |= {"RENDERER_URL": "sketch:"}
    dev.start()

    assert dev.wait_for(id, "completed")["started_at"]


def test_dev__starts_its_worker_again_when_that_dies(dev):
    worker = next(p for p in psutil.Process(dev.process.pid).children() if "worker" in p.cmdline())

    worker.kill()

    assert dev.wait_for(dev.create(width=64, height=64)["id"], "completed")


# The 95th percentile of 20 is measured where nothing else uses the processors.
@pytest.mark.parametrize("position", [9, pytest.param(18, marks=pytest.mark.faults)], ids=["median", "95th percentile"])
def test_idle_worker__starts_within_300_ms_and_ends_within_2_seconds(dev, position):
    waits, totals = [], []
    for _ in range(20):
        generation = dev.wait_for(dev.create()["id"], "completed")
        created, started, completed = (
            datetime.fromisoformat(generation[name]) for name in ("created_at", "started_at", "completed_at")
        )
        waits.append((started - created).total_seconds())
        totals.append((completed - created).total_seconds())

    assert sorted(waits)[position] < 0.3, waits
    assert sorted(totals)[position] < 2, totals


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.faults)])
def test_prompts__of_8_clients_at_once_all_become_images(dev, count):
    with ThreadPoolExecutor(8) as clients:
        created = list(clients.map(lambda number: dev.create(seed=number, width=64, height=64), range(count)))
    for generation in created:
        dev.wait_for(generation["id"], "completed", seconds=60)

    images = {path.name[:36] for path in (dev.data / "images").rglob("*.png")}
    assert len({generation["id"] for generation in created} & images) == count
    ids = "ANY(ARRAY[" + ",".join(f"'{generation['id']}'" for generation in created) + "])"
    assert dev.count(f"generations_generation WHERE status = 2 AND attempts = 1 AND id::text = {ids}") == count
    assert dev.count(f"procrastinate_jobs WHERE status = 'succeeded' AND args ->> 'generation_id' = {ids}") == count


@pytest.fixture
def signals():
    """The command changes what signals do, which is put back."""
    before = {number: signal.getsignal(number) for number in command.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_dev__kills_what_does_not_end_and_is_not_interrupted_itself(signals, monkeypatch):
    monkeypatch.setattr(command, "STOP_TIMEOUT", 0.3)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    child.stdout.readline()
    run = command.Command()
    run.children = {"web": child}

    run.end_children()

    assert child.returncode == -signal.SIGKILL
    assert {signal.getsignal(number) for number in command.SIGNALS} == {signal.SIG_IGN}
    child.stdout.close()


@pytest.mark.parametrize(("bind", "host"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")])
def test_dev__prints_an_address_that_responds(signals, monkeypatch, tmp_path, bind, host):
    for name, value in {"BIND": bind, "PORT": str(free_port()), "LOCKNGEN_DATA": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command.Command, "run", lambda self: None)
    run = command.Command()

    run.handle()

    assert run.host == host


def test_dev__refuses_a_port_that_is_taken(monkeypatch):
    monkeypatch.setattr(command, "lock_data_folder", lambda folder: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PORT", str(server.getsockname()[1]))

        with pytest.raises(command.CommandError, match=r"Port \d+ is taken: "):
            command.Command().handle()


def test_dev__has_no_key_without_debug(db):
    assert command.Command().development_token() is None


def test_dev__keeps_ctrl_c_from_its_children(dev):
    children = psutil.Process(dev.process.pid).children()

    assert len(children) == 2
    assert [os.getsid(child.pid) for child in children] == [child.pid for child in children]


def test_dev__names_the_program_that_does_not_start(monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    ended.wait()
    run = command.Command()
    run.children = {"worker": ended}
    monkeypatch.setattr(run, "web_responds", lambda: False, raising=False)
    monkeypatch.setattr(command, "READY_TIMEOUT", 1)

    with pytest.raises(command.CommandError, match="The worker ended with code 3"):
        run.wait_until_ready(0)


def test_dev__keeps_images_through_kills_and_ends_by_ctrl_c(dev):
    """The last test of the shared run, which it ends."""
    created = dev.create(width=640, height=320)
    generation = dev.wait_for(created["id"], "completed")
    with Image.open(BytesIO(dev.ask(generation["image_url"]))) as image:
        assert (image.format, image.size) == ("PNG", (640, 320))

    end(dev.processes())
    dev.wait()
    dev.start()

    assert dev.newest()[0] == generation
    assert dev.ask(generation["image_url"])[:4] == b"\x89PNG"
    assert dev.wait_for(dev.create(width=64, height=64)["id"], "completed")
    assert_stopped_by(signal.SIGINT, dev)


@pytest.mark.faults
def test_dev__killed_alone_ends_its_programs(make_dev):
    dev = make_dev()
    children = psutil.Process(dev.process.pid).children(recursive=True)

    dev.kill()

    assert len(children) >= 3  # the web and what it started, the worker
    assert psutil.wait_procs(children, timeout=20)[1] == []


def assert_stopped_by(number: int, dev) -> None:
    processes = dev.processes()

    assert dev.stop(number) == 0
    assert [process for process in processes if is_alive(process)] == []
