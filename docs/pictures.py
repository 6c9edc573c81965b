"""Takes the pictures of the studio for README.md: .venv/bin/python -m docs.pictures

It starts a LockN Gen of its own in a temporary folder and makes images with the sketch renderer.
"""

import shutil
from itertools import cycle
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from lockngen.tests.support.dev import Dev, running_devs
from lockngen.tests.support.embedded_servers import open_folder

FOLDER = Path(__file__).parent / "images"
QUALITY = 82  # of the JPEGs
DESKTOP, PHONE = {"width": 1360, "height": 850}, {"width": 390, "height": 844}
SIZES = cycle([(768, 512), (512, 768), (640, 640), (1024, 576), (512, 512), (576, 768), (896, 512)])
PROMPTS = [
    "a lighthouse at dusk, long exposure",
    "snow on the mountains, morning light",
    "a neon city by the river, rain",
    "dunes under a large sun",
    "a quiet lake between pines, mist",
    "northern lights above a frozen bay",
    "a harbour at night, reflections",
    "cliffs and a stormy sea",
    "a desert road at sunrise",
    "rolling hills in autumn",
    "a full moon over the ocean",
    "an island village, golden hour",
    "a glacier under a green sky",
    "the skyline in winter fog",
    "a volcano before dawn",
]
COUNT = 30
QUEUED = ["a castle above the clouds, sunset", "tall ships at anchor, blue hour", "a meadow after the storm"]


def main() -> None:
    with open_folder() as folder, running_devs(folder) as make_dev, sync_playwright() as playwright:
        dev = make_dev(is_first_start=True)
        fill(dev)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = open_studio(browser, dev, DESKTOP, scheme)
            for prompt in QUEUED:  # so that the queue isn't empty
                dev.create(prompt=prompt, width=2048, height=2048, seed=7)
            page.get_by_text(QUEUED[-1]).first.wait_for()
            take(page, f"studio-{scheme}")
            page.locator(".queue li").first.wait_for(state="detached", timeout=60_000)
            open_image(page)
            take(page, f"studio-image-{scheme}")
            page.context.close()
            phone = open_studio(browser, dev, PHONE, scheme)
            phone.locator(".gallery").scroll_into_view_if_needed()
            phone.evaluate("scrollTo(0, document.querySelector('.gallery').offsetTop - 12)")
            load_images(phone)
            take(phone, f"studio-phone-{scheme}")
            phone.context.close()
        browser.close()


def fill(dev: Dev) -> None:
    """Make the images, the newest of which are seen first."""
    for seed, prompt, (width, height) in zip(range(COUNT), cycle(PROMPTS), SIZES, strict=False):
        dev.wait_for(dev.create(prompt=prompt, width=width, height=height, seed=seed)["id"], "completed", seconds=60)


def open_studio(browser: Browser, dev: Dev, viewport: dict[str, int], scheme: str) -> Page:
    address = f"http://127.0.0.1:{dev.port}"
    # wait_for_function evaluates a string, which the policy forbids.
    context = browser.new_context(
        viewport=viewport, color_scheme=scheme, base_url=address, locale="en", bypass_csp=True
    )
    page = context.new_page()
    page.goto("/")
    page.get_by_role("button", name="Use the development key").click()
    page.locator("#prompt-text").fill("a lighthouse at dusk, rain, long exposure")
    page.locator(".tile img").first.wait_for()
    load_images(page)
    return page


def open_image(page: Page) -> None:
    page.locator(".tile:has(img)").nth(4).click()
    page.locator("#lightbox .stage img").evaluate("image => image.decode()")


def load_images(page: Page) -> None:
    """Wait for the images on the screen."""
    page.wait_for_function(
        """[...document.querySelectorAll('.tile img')].every(image => {
            const {top, bottom} = image.getBoundingClientRect();
            return image.complete || bottom < 0 || top > innerHeight;
        })"""
    )


def take(page: Page, name: str) -> None:
    page.evaluate("document.activeElement.blur()")
    png = FOLDER / f"{name}.png"
    page.screenshot(path=png)
    jpeg = png.with_suffix(".jpg")
    Image.open(png).convert("RGB").save(jpeg, quality=QUALITY, optimize=True, progressive=True)
    png.unlink()
    print(f"{jpeg.relative_to(FOLDER.parent.parent)}: {jpeg.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
