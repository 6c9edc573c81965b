"""The benchmarks still run. Their figures depend on the machine and are not checked here."""

import subprocess
import sys
from importlib.util import find_spec
from shutil import which

import pytest

from lockngen.environment import BASE_DIR

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

SHORT = {
    "slow_clients": ["--seconds", "2", "--scale", "0.05"],
    "parked": ["--seconds", "2", "--streams", "40", "--waits", "20", "--ends", "10"],
    "growth": ["--rows", "1000", "2000", "--rounds", "1", "--calls", "2"],
    "throughput": ["--seconds", "1", "--rounds", "1", "--rows", "20000"],
    "fast_path": ["--seconds", "1", "--rounds", "1"],
    "pages": ["--visits", "1", "--rows", "1000"],
    "limiter": ["--seconds", "1", "--rounds", "1"],
}
NEEDS_WRK = {"throughput", "fast_path", "limiter"}


@pytest.mark.parametrize("name", SHORT)
def test_benchmark__prints_a_table(name):
    if name in NEEDS_WRK and not which("wrk"):
        pytest.skip("wrk is not installed")
    if name == "pages" and not which("chromium"):
        pytest.skip("no Chromium on this machine")
    if name == "throughput" and not find_spec("fastapi"):
        pytest.skip("benchmarks/requirements.txt is not installed")

    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *SHORT[name]], cwd=BASE_DIR, capture_output=True)

    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout.startswith(b"| ")
