"""A ComfyUI without a model: the HTTP and WebSocket interface of a real server, and the order of its events.

`python -m generations.tests.support.comfyui.double PORT FOLDER FAULTS [CERTIFICATE]` is the process. Queue, history
and cache are in its memory, images in the folder. GET /double returns the calls it received, POST /double sets its
faults, and DELETE /double removes queue, history and cache, as a restart does.
"""

import asyncio
import heapq
import json
import re
import ssl
import sys
import time
import uuid
from pathlib import Path

from aiohttp import WSMsgType, web

from generations.tests.support.comfyui import nodes
from generations.tests.support.comfyui.faults import Faults, NodeFailed, fail, image, preview

STEPS = 5  # of a prompt
HELD_AT = 3  # the step at which prompts wait while they are held
PREVIEW_METHODS = {"auto", "latent2rgb", "taesd"}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Interrupted(Exception):
    pass


class Server:
    def __init__(self, folder: Path, faults: Faults):
        self.folder, self.faults, self.calls = folder, faults, []
        nodes.leave_out(faults.lacks)
        self.sockets, self.with_metadata = {}, set()
        self.clear()

    def clear(self) -> None:
        self.number, self.waiting, self.running, self.history, self.cache = 0, [], {}, {}, {}
        self.client_id, self.interrupt = None, False
        self.arrived = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.record])
        app.add_routes(
            [
                web.get("/prompt", self.get_prompt),
                web.post("/prompt", self.post_prompt),
                web.get("/queue", self.get_queue),
                web.post("/queue", self.post_queue),
                web.post("/interrupt", self.post_interrupt),
                web.get("/history", self.get_history),
                web.get("/history/{id}", self.get_history),
                web.post("/history", self.post_history),
                web.get("/view", self.view),
                web.get("/ws", self.websocket),
                web.get("/system_stats", self.system_stats),
                web.get("/object_info", self.object_info),
                web.get("/object_info/{name}", self.object_info),
                web.get("/double", self.get_calls),
                web.post("/double", self.set_faults),
                web.delete("/double", self.lose_prompts),
            ]
        )
        app.on_startup.append(self.start_working)
        return app

    @web.middleware
    async def record(self, request: web.Request, handler) -> web.StreamResponse:
        if request.path == "/double":
            return await handler(request)
        body = await request.json() if request.can_read_body else None
        path = request.path_qs
        self.calls.append({"method": request.method, "path": path, "body": body, "headers": dict(request.headers)})
        if self.faults.status:
            return web.Response(status=self.faults.status, text="Traceback (most recent call last): /opt/secret.py")
        return await handler(request)

    async def get_calls(self, request: web.Request) -> web.Response:
        return web.json_response(self.calls)

    async def lose_prompts(self, request: web.Request) -> web.Response:
        self.worker.cancel()
        for socket in [*self.sockets.values()]:
            await socket.close()
        self.clear()
        await self.start_working(request.app)
        return web.Response()

    async def set_faults(self, request: web.Request) -> web.Response:
        self.faults = Faults(**await request.json())
        nodes.leave_out(self.faults.lacks)
        self.calls.clear()
        return web.Response()

    async def post_prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        id = body.get("prompt_id")
        if id is not None and not self.faults.is_old and not UUID.fullmatch(id):
            error = nodes.problem("invalid_prompt_id", "prompt_id must be a valid UUID")
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        id = str(uuid.uuid4()) if id is None or self.faults.is_old else id
        error, node_errors = nodes.validate(body["prompt"])
        if error:
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        extra = body.get("extra_data", {}) | ({"client_id": body["client_id"]} if "client_id" in body else {})
        outputs = [id for id, node in body["prompt"].items() if node["class_type"] in nodes.OUTPUT_NODES]
        heapq.heappush(self.waiting, (self.number, id, body["prompt"], extra, outputs))
        self.number += 1
        self.arrived.set()
        if self.faults.loses_answers:
            request.transport.abort()
        return web.json_response({"prompt_id": id, "number": self.number - 1, "node_errors": node_errors})

    async def get_prompt(self, request: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": len(self.running) + len(self.waiting)}})

    async def get_queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [*self.running.values()], "queue_pending": sorted(self.waiting)})

    async def post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.waiting = [item for item in self.waiting if item[1] not in body.get("delete", [])]
        heapq.heapify(self.waiting)
        return web.Response()

    async def post_interrupt(self, request: web.Request) -> web.Response:
        id = (await request.json()).get("prompt_id") if request.can_read_body else None
        if not id or self.faults.is_old or id in self.running:
            self.interrupt = True
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        if id := request.match_info.get("id"):
            return web.json_response({id: self.history[id]} if id in self.history else {})
        most = int(request.query.get("max_items", len(self.history)))
        return web.json_response(dict([*self.history.items()][-most:]))

    async def post_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        for id in [*self.history] if body.get("clear") else body.get("delete", []):
            self.history.pop(id, None)
        return web.Response()

    async def view(self, request: web.Request) -> web.StreamResponse:
        path = self.folder / request.query.get("subfolder", "") / request.query["filename"]
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    async def system_stats(self, request: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "double"}, "devices": []})

    async def object_info(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name")
        return web.json_response(nodes.object_info([name] if name else nodes.NODES))

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        if self.faults.sockets == "refused":
            return web.Response(status=403)
        if self.faults.sockets == "mute":
            await asyncio.sleep(5)
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        id = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[id] = socket
        await self.send("status", {"status": {"exec_info": {"queue_remaining": len(self.waiting)}}, "sid": id}, id)
        try:
            async for message in socket:
                if message.type == WSMsgType.ERROR:
                    break
                await self.negotiate(id, json.loads(message.data))
        finally:
            self.sockets.pop(id, None)  # even another connection of this id, as in a real server
            self.with_metadata.discard(id)
        return socket

    async def negotiate(self, id: str, message: dict) -> None:
        if message["type"] == "feature_flags" and not self.faults.is_old:
            if message["data"].get("supports_preview_metadata"):
                self.with_metadata.add(id)
            await self.send("feature_flags", {"supports_preview_metadata": True}, id)

    async def send(self, event: str, data: dict | bytes, id: str | None = None) -> None:
        """Send to one client, by default to that of the running prompt, or to all if the prompt has no client."""
        id = id or self.client_id
        for socket in [*self.sockets.values()] if id is None else [self.sockets.get(id)]:
            if socket is not None and self.faults.sockets != "silent":
                await self.send_to(socket, event, data)

    async def send_to(self, socket: web.WebSocketResponse, event: str, data: dict | bytes) -> None:
        try:
            if isinstance(data, bytes):
                await socket.send_bytes(data)
            else:
                await socket.send_json({"type": event, "data": data})
            if self.faults.sockets == "dropped" and event == "progress":
                await socket.close()
        except ConnectionError:
            pass

    async def start_working(self, app: web.Application) -> None:
        self.worker = asyncio.create_task(self.work())

    async def work(self) -> None:
        while True:
            while not self.waiting:
                self.arrived.clear()
                await self.arrived.wait()
            item = heapq.heappop(self.waiting)
            self.running[item[1]] = item
            self.client_id, self.interrupt = item[3].get("client_id"), False
            # An older server has no setting for each prompt, and was started with --preview-method.
            self.makes_previews = self.faults.is_old or item[3].get("preview_method") in PREVIEW_METHODS
            entry = await self.execute(item)
            await asyncio.sleep(self.faults.history_delay)
            del self.running[item[1]]
            self.history[item[1]] = entry
            await self.send("executing", {"node": None, "prompt_id": item[1]})

    async def execute(self, item: tuple) -> dict:
        _, prompt_id, graph, _, outputs = item
        messages, shown, node = [], {}, None

        async def record(event: str, **data) -> None:
            messages.append([event, {"prompt_id": prompt_id, **data, "timestamp": int(time.time() * 1000)}])
            await self.send(*messages[-1])

        await record("execution_start")
        order = [id for id in graph if any(id in nodes.ancestors(graph, output) for output in outputs)]
        cached = [id for id in order if nodes.signature(graph, id) in self.cache]
        await record("execution_cached", nodes=cached)
        try:
            for node in sorted(order, key=lambda id: len(nodes.ancestors(graph, id))):
                if node not in cached:
                    await self.send("executing", {"node": node, "prompt_id": prompt_id})
                    self.cache[nodes.signature(graph, node)] = await self.run(graph, node, prompt_id)
                if found := self.cache[nodes.signature(graph, node)]:
                    shown[node] = found
                    await self.send("executed", {"node": node, "output": found, "prompt_id": prompt_id})
            await record("execution_success")
        except Interrupted:
            await record("execution_interrupted", node_id=node, node_type=graph[node]["class_type"], executed=[])
        except NodeFailed as error:
            await record(
                "execution_error",
                node_id=node,
                node_type=graph[node]["class_type"],
                executed=[],
                exception_message=str(error),
                exception_type=error.kind,
                traceback=['  File "/opt/ComfyUI/execution.py", line 1, in execute\n'],
            )
        ok = messages[-1][0] == "execution_success"
        status = {"status_str": "success" if ok else "error", "completed": ok, "messages": messages}
        return {"prompt": [*item], "outputs": shown, "status": status, "meta": {}}

    async def run(self, graph: dict, id: str, prompt_id: str) -> dict:
        """Execute a node and return its output. Only the nodes that make pixels take time."""
        node = graph[id]
        faults = self.faults if self.faults.only in json.dumps(graph) else Faults()
        if node["class_type"] in ("EmptyImage", "KSampler"):
            await self.take_steps(faults, id, prompt_id)
        if node["class_type"] not in nodes.OUTPUT_NODES or faults.image == "none":
            return {}
        prefix = node["inputs"].get("filename_prefix", "ComfyUI_temp")
        batch = next((node["inputs"]["batch_size"] for node in graph.values() if "batch_size" in node["inputs"]), 1)
        return {"images": [self.save(prefix, image(graph, faults.image)) for _ in range(batch)]}

    async def take_steps(self, faults: Faults, id: str, prompt_id: str) -> None:
        for step in range(1, STEPS + 1):
            await asyncio.sleep(faults.seconds / STEPS)
            while self.faults.is_held and step == HELD_AT and not self.interrupt:
                await asyncio.sleep(0.005)
            if self.interrupt:
                raise Interrupted
            if step == 2:
                fail(faults.error)
            await self.send("progress", {"value": step, "max": STEPS, "prompt_id": prompt_id, "node": id})
            if self.makes_previews:
                metadata = {"node_id": id, "prompt_id": prompt_id} if self.client_id in self.with_metadata else None
                await self.send("preview", preview(metadata))

    def save(self, prefix: str, content: bytes) -> dict:
        subfolder, _, name = prefix.rpartition("/")
        folder = self.folder / subfolder
        folder.mkdir(parents=True, exist_ok=True)
        filename = f"{name}_{len([*folder.glob(f'{name}_*')]) + 1:05}_.png"
        (folder / filename).write_bytes(content)
        return {"filename": filename, "subfolder": subfolder, "type": "output"}


if __name__ == "__main__":
    port, folder, faults = int(sys.argv[1]), Path(sys.argv[2]), Faults(**json.loads(sys.argv[3]))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if sys.argv[4:] else None
    if tls:
        tls.load_cert_chain(sys.argv[4])
    app = Server(folder, faults).app()
    web.run_app(app, host="127.0.0.1", port=port, ssl_context=tls, print=None, access_log=None)
