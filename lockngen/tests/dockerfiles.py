"""Reads the Dockerfile, and docker-compose.yml with Docker Compose itself, for tests."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import compose

from lockngen.environment import BASE_DIR

PROGRAMS = Path(sys.executable).parent
COMPOSE = "docker-compose.yml"
DOCKER_COMPOSE = Path(compose.__file__).parent / "docker-compose"  # its wrapper in bin always exits with 0
OURS = ["migrate", "web", "worker"]


def instructions() -> dict[str, str]:
    """The Dockerfile's, the last of each name, which is that of the final stage."""
    text = re.sub(r"^#.*\n", "", (BASE_DIR / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return dict(line.split(" ", 1) for line in lines if line)


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(instructions()["ENV"]))


def health_command() -> list[str]:
    return json.loads(instructions()["HEALTHCHECK"].partition("CMD ")[2])


def config(*files: str, env_file: str = "", **environment: str) -> subprocess.CompletedProcess:
    """What Docker Compose makes of the files, with this text as .env."""
    with tempfile.NamedTemporaryFile("w", suffix=".env") as dot_env:
        dot_env.write(env_file)
        dot_env.flush()
        options = [option for file in files or [COMPOSE] for option in ("--file", file)]
        arguments = [DOCKER_COMPOSE, "--env-file", dot_env.name, *options, "config", "--format", "json"]
        return subprocess.run(
            arguments, cwd=BASE_DIR, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True
        )


def parsed(run: subprocess.CompletedProcess) -> dict:
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.replace("$$", "$"))  # as it escapes what isn't a variable


@cache
def services(**environment: str) -> dict:
    """The services as Docker Compose starts them in this environment."""
    return parsed(config(**{"SECRET_KEY": "not-a-secret-" + "0123456789" * 4, **environment}))["services"]


def grace(name: str) -> int:
    return int(services()[name]["stop_grace_period"].removesuffix("s").replace("1m0", "60"))


def command(name: str) -> list[str]:
    return services()[name].get("command") or json.loads(instructions()["CMD"])


def search_path() -> str:
    return f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
