"""Starts, configures, observes and kills the process of the double."""

import json
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx

from lockngen.tests.support.processes import Process
from lockngen.tests.support.waiting import wait_until


class Double(Process):
    """A killed double loses its queue, its history and its cache, but neither its images nor its faults."""

    def __init__(self, port: int, folder: Path, certificate: Path | None = None):
        self.port, self.folder, self.faults, self.certificate = port, folder, {}, certificate
        address = f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
        verify = ssl.create_default_context(cafile=certificate) if certificate else False
        self.http = httpx.Client(base_url=address, verify=verify, trust_env=False, timeout=10)
        super().__init__([], folder / "double.log")

    @property
    def url(self) -> str:
        server = "comfyuis://localhost" if self.certificate else "comfyui://127.0.0.1"
        return f"{server}:{self.port}?patience=5"

    def start(self) -> None:
        module = "generations.tests.support.comfyui.double"
        arguments = [str(self.port), self.folder, json.dumps(self.faults)]
        self.command = [sys.executable, "-m", module, *arguments, *([self.certificate] if self.certificate else [])]
        super().start()
        self.wait_until(self.answers)

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return bool(self.http.get("/double"))
        return False

    def stop(self) -> None:
        self.kill()
        self.http.close()

    def set(self, **faults) -> None:
        """Replace the faults, and clear the list of calls."""
        self.faults = faults
        self.http.post("/double", json=faults).raise_for_status()

    def calls(self, method: str, path: str) -> list[dict]:
        return [call for call in self.http.get("/double").json() if (call["method"], call["path"]) == (method, path)]

    def prompts(self) -> list[dict]:
        """The bodies of the submissions."""
        return [call["body"] for call in self.calls("POST", "/prompt")]

    def queue(self) -> tuple[list[str], list[str]]:
        """The ids of the running and of the waiting prompts."""
        queue = self.http.get("/queue").json()
        return [item[1] for item in queue["queue_running"]], [item[1] for item in queue["queue_pending"]]

    def history(self) -> dict:
        return self.http.get("/history").json()

    def submit(self, id: str, **more) -> None:
        """Queue a prompt of another client, with a color of its own so that it isn't cached."""
        image = {"width": 64, "height": 64, "batch_size": 1, "color": UUID(id).int % 2**24}
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": image},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": id}},
        }
        self.http.post("/prompt", json={"prompt": graph, "prompt_id": id, **more}).raise_for_status()

    def wait_for(self, condition) -> None:
        wait_until(lambda: condition(self))

    def lose_prompts(self) -> None:
        """Lose queue, history and cache, as by a restart."""
        self.http.delete("/double").raise_for_status()

    def reset(self) -> None:
        """Start it if it was killed, and remove faults, prompts and history."""
        self.faults = {}
        if not self.is_running():
            self.start()
        self.lose_prompts()
        self.set()
