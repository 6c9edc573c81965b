"""Clients that real generators make of docs/openapi.json, and schemathesis, against a real web process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from generations.models import Generation
from lockngen.environment import BASE_DIR
from lockngen.tests.support import node

WEB_OPTIONS = {"WEB_MAX_WAIT": "1"}  # second, as schemathesis waits for generations that no worker renders
DOCUMENT = BASE_DIR / "docs/openapi.json"
PROGRAMS = Path(sys.executable).parent

PYTHON = """
import sys
from client import AuthenticatedClient
from client.api.generations import cancel_generation, create_generation, delete_generation, get_generation
from client.api.generations import list_generations
from client.api.key import get_key
from client.api.models import list_models
from client.models import GenerationIn, ProblemDocument

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
made = create_generation.sync(client=client, body=GenerationIn(prompt="a lighthouse"))
assert made.status == "pending" and made.seed is None, made
assert get_generation.sync(str(made.id), client=client).prompt == "a lighthouse"
create_generation.sync(client=client, body=GenerationIn(prompt="a harbour"))
page = list_generations.sync(client=client, limit=1)
assert list_generations.sync(client=client, limit=1, cursor=page.next_cursor).items[0].id == made.id
assert cancel_generation.sync(str(made.id), client=client).status == "cancelled"
assert delete_generation.sync_detailed(str(made.id), client=client).status_code == 204
assert isinstance(get_generation.sync(str(made.id), client=client), ProblemDocument)
assert list_models.sync(client=client).items and get_key.sync(client=client).name == "Test"
"""
TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };
const [baseUrl, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const { data } = await client.POST("/api/v1/generations", { body: { prompt: "a lighthouse" } as any });
if (!data || !("id" in data)) throw new Error("not one generation");
const path = { id: data.id };
const cancelled = await client.POST("/api/v1/generations/{id}/cancel", { params: { path } });
const page = await client.GET("/api/v1/generations", { params: { query: { limit: 1, status: "cancelled" } } });
const wrong = await client.GET("/api/v1/generations/{id}", { params: { path: { id: "x" } } });
console.log(JSON.stringify([cancelled.data!.status, page.data!.items.length, wrong.error!.status]));
"""


def run(*command, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def test_python_client__is_generated_and_used(web, key, transactional_db, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))
    generator = PROGRAMS / "openapi-python-client"
    run(generator, "generate", "--path", DOCUMENT, "--output-path", "client", "--meta", "none",
        "--config", config, cwd=tmp_path)  # fmt: skip

    run(sys.executable, "-c", PYTHON, f"http://127.0.0.1:{web.port}", key.token, cwd=tmp_path)

    assert Generation.all_objects.count() == 2


@node.needs("typescript")
def test_typescript_client__is_generated_and_used(web, key, transactional_db, tmp_path):
    (tmp_path / "node_modules").symlink_to(node.NODE / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "main.ts").write_text(TYPESCRIPT)
    programs = node.NODE / "node_modules/.bin"
    run(programs / "openapi-typescript", DOCUMENT, "-o", "api.ts", cwd=tmp_path)
    options = ["--module", "nodenext", "--target", "es2022", "--strict", "--skipLibCheck"]
    run(programs / "tsc", *options, "--lib", "es2022,dom", "main.ts", cwd=tmp_path)

    printed = run("node", "main.js", f"http://127.0.0.1:{web.port}", key.token, cwd=tmp_path)

    assert json.loads(printed) == ["cancelled", 1, 404]


# Before OpenAPI 3.2 schemathesis takes a stream's schema for that of each event; test_stream.py compares the events.
SCHEMATHESIS = """
[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_schema_conformance.enabled = true

[[operations]]
include-operation-id = "streamGenerationEvents"
checks.response_schema_conformance.enabled = false
"""


def examine(web, key, tmp_path, seed: int, examples: int, phases: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    run(PROGRAMS / "schemathesis", "run", DOCUMENT, "--url", f"http://127.0.0.1:{web.port}",
        "--header", f"Authorization: Bearer {key.token}", "--phases", phases,
        "--exclude-operation-id", "streamEvents",  # it doesn't end
        "--seed", seed, "--max-examples", examples, "--no-color", cwd=tmp_path)  # fmt: skip


def test_schemathesis__finds_no_failure(web, make_key, transactional_db, tmp_path):
    examine(web, make_key(rate_limit=0), tmp_path, seed=7, examples=1, phases="examples,fuzzing")


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 7))
def test_schemathesis__finds_no_failure_with_many_examples(web, make_key, transactional_db, tmp_path, seed):
    examine(web, make_key(rate_limit=0), tmp_path, seed, examples=100, phases="examples,coverage,fuzzing")
