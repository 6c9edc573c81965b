"""How soon the studio's pages are usable, and what they transfer. See docs/performance.md.

.venv/bin/python -m benchmarks.pages [--rows 10000] [--visits 5] [--database URL] [--write]
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from statistics import median

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import report, served
from benchmarks.database import BASE

SIZE = {"width": 1280, "height": 860}
NETWORKS = {
    "local": None,
    "3G": {"offline": False, "latency": 300, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8},
    "slow 3G": {"offline": False, "latency": 2000, "downloadThroughput": 4e5 / 8, "uploadThroughput": 4e5 / 8},
}
HEADER = ["page", "network", "first paint ms", "usable ms", "loaded ms", "KB", "image KB", "requests", "layout shift"]
OBSERVE = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: 'layout-shift', buffered: true});
"""
TIMES = """() => {
  const [navigation] = performance.getEntriesByType('navigation');
  const paint = performance.getEntriesByName('first-contentful-paint')[0];
  return [paint.startTime, navigation.domContentLoadedEventEnd, navigation.loadEventEnd, window.shift];
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="generations in the database (10000)")
    parser.add_argument("--visits", type=int, default=5, help="visits of each page (5)")
    report.add_arguments(parser)
    arguments = parser.parse_args()
    password = secrets.token_urlsafe()
    with (
        collected_static_files(),
        served.filled(arguments.database, arguments.rows, picture()) as (server, keys),
        operator(password),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        address = f"http://127.0.0.1:{server.port}"
        pages = {
            "hello": ("/", lambda page: None),
            "studio": ("/", lambda page: sign_in(page, next(iter(keys.values())))),
            "operation": ("/studio/operator", lambda page: log_in(page, password)),
        }
        rows = [
            [name, network, *measure(browser, address, *pages[name], limits, arguments.visits)]
            for name in pages
            for network, limits in NETWORKS.items()
        ]
        browser.close()
    conditions = (
        f"{report.machine()}. Medians of {arguments.visits} visits with an empty cache, {arguments.rows:,} "
        "generations. 3G has a latency of 300 ms and 1.6 Mbit/s, slow 3G 2 s and 0.4 Mbit/s."
    )
    report.publish(arguments, "pages", [report.table(HEADER, rows, left=2), conditions])


@contextmanager
def collected_static_files() -> Iterator[None]:
    """Static files as in production: compressed, and with a digest in their names."""
    folder = BASE / "static"
    was_there = folder.exists()
    # Nothing connects to the database.
    variables = {**os.environ, "DEBUG": "", "SECRET_KEY": secrets.token_urlsafe(50), "DATABASE_URL": "postgres://x@y/z"}
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"]
    subprocess.run(command, cwd=BASE, env=variables, check=True)
    yield
    if not was_there:
        shutil.rmtree(folder)


def picture() -> bytes:
    file = BytesIO()
    Image.effect_noise((512, 512), 60).save(file, "PNG")
    return file.getvalue()


@contextmanager
def operator(password: str) -> Iterator[None]:
    from django.contrib.auth.models import User

    User.objects.create_superuser("ann", password=password)
    yield


def sign_in(page: Page, token: str) -> None:
    page.goto("/")
    page.locator("#token").fill(token)
    page.locator("#token").press("Enter")
    page.wait_for_selector("#prompt")


def log_in(page: Page, password: str) -> None:
    page.goto("/admin/login/")
    page.locator("#id_username").fill("ann")
    page.locator("#id_password").fill(password)
    page.locator("#id_password").press("Enter")
    page.wait_for_selector("#logout-form")


def measure(browser: Browser, address: str, path: str, enter, limits: dict | None, visits: int) -> list[str]:
    """The cells of a row."""
    found = [visit(browser, address, path, enter, limits) for _ in range(visits)]
    *times, shift, transferred, of_images, requests = (median(column) for column in zip(*found, strict=True))
    kilobytes = [f"{bytes / 1000:,.1f}" for bytes in (transferred, of_images)]
    cells = [*(f"{time:,.0f}" for time in times), *kilobytes, f"{requests:g}", f"{shift:.3f}"]
    report.log(f"{path} {cells}")
    return cells


def visit(browser: Browser, address: str, path: str, enter, limits: dict | None) -> list[float]:
    """Times in ms, layout shift, bytes without and of images, and the number of requests of one visit."""
    context = browser.new_context(viewport=SIZE, base_url=address)
    enter(context.new_page())
    page = context.new_page()
    page.add_init_script(OBSERVE)
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.clearBrowserCache")
    if limits:
        network.send("Network.emulateNetworkConditions", limits)
    kinds, sizes = {}, {}
    network.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    network.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(path, wait_until="load")
    page.wait_for_timeout(1000 + (7 * limits["latency"] if limits else 0))  # for what scripts request, and the images
    times = page.evaluate(TIMES)
    context.close()
    of_images = sum(size for id, size in sizes.items() if kinds.get(id) == "Image")
    return [*times, sum(sizes.values()) - of_images, of_images, len(sizes)]


if __name__ == "__main__":
    main()
