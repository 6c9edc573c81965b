"""Other sites whose pages use the API from a browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

CALL = "const call = (address, method, body) => fetch(address, {method, body: body && JSON.stringify(body), headers: {"
CALL += "Authorization: `Bearer ${token}`, 'Content-Type': 'application/json'}});"
USE_FROM_ANOTHER_SITE = f"""async ([url, token]) => {{
    {CALL}
    const created = await call(url, 'POST', {{prompt: 'a lighthouse', width: 64, height: 64}});
    const problem = await call(url, 'POST', {{}});
    const generation = await created.json();
    const events = new EventSource(generation.signed_urls.events);
    await new Promise((resolve, reject) => {{ events.addEventListener('end', resolve); events.onerror = reject; }});
    events.close();
    const image = document.body.appendChild(new Image());
    image.src = (await (await call(`${{url}}/${{generation.id}}`, 'GET')).json()).signed_urls.image;
    await image.decode();
    return {{
        status: created.status, location: created.headers.get('Location').endsWith(generation.id),
        remaining: Number(created.headers.get('RateLimit-Remaining')), problem: (await problem.json()).errors[0].field,
        type: problem.headers.get('Content-Type'), width: image.naturalWidth,
    }};
}}"""
TRY_FROM_ANOTHER_SITE = f"""async ([url, token, events]) => {{
    {CALL}
    const outcome = (promise) => promise.then(() => 'allowed', () => 'refused');
    const stream = new EventSource(events);
    const opened = new Promise((resolve, reject) => {{ stream.onopen = resolve; stream.onerror = reject; }});
    return [await outcome(call(url, 'GET')), await outcome(call(url, 'POST', {{prompt: 'x'}})), await outcome(opened)];
}}"""


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another site</title>")

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serve_origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
