"""The studio in a real Chromium against a real, whole LockN Gen."""

import re
from collections.abc import Callable
from uuid import uuid4
from zipfile import ZipFile

import pytest
from playwright.sync_api import Locator, Page, expect

from generations.images import formats
from generations.tests.support.copies import COPY
from generations.tests.support.encoded import encoded
from lockngen.tests.browser.accessibility import flaws
from lockngen.tests.browser.screenshots import keep

RENDERED = 20_000  # milliseconds in which an image is rendered and shown


@pytest.fixture(scope="module")
def make_token(dev) -> Callable[[], str]:
    def make() -> str:
        return dev.manage("apikey", "create", f"Studio {uuid4().hex[:8]}", "--rate-limit", "1000").stdout.strip()

    return make


@pytest.fixture(scope="module")
def token(make_token) -> str:
    return make_token()


def sign_in(page: Page, token: str, address: str = "/") -> Page:
    page.goto("/")
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Open the studio").click()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    if address != "/":
        page.goto(address)
    return page


@pytest.fixture
def studio(page, token) -> Page:
    return sign_in(page, token)


def create(page: Page, prompt: str) -> None:
    field = page.get_by_role("textbox", name="Prompt", exact=True)
    field.fill(prompt)
    field.press("Control+Enter")


def tile(page: Page, prompt: str) -> Locator:
    return page.locator(".tile", has=page.get_by_role("img", name=prompt, exact=True))


def test_prompt__becomes_an_image_that_can_be_varied(studio, dev):
    with dev.paused_worker():
        queue = studio.get_by_role("list", name="Queue")
        for number, prompt in enumerate(["a lighthouse", "an unwanted harbour"], 1):
            create(studio, prompt)
            expect(queue.get_by_role("listitem")).to_have_count(number)
        queue.get_by_role("button", name="Cancel an unwanted harbour").click()
        expect(queue.get_by_role("listitem")).to_have_count(1)
    expect(tile(studio, "a lighthouse")).to_be_visible(timeout=RENDERED)
    expect(studio.get_by_text("Nothing is waiting.")).to_be_visible()

    tile(studio, "a lighthouse").click()
    box = studio.get_by_role("dialog", name="Image")
    seed = box.locator("dt", has_text="Seed").locator("+ dd").inner_text()
    box.get_by_role("button", name="Use seed").click()
    expect(studio.get_by_label("Seed")).to_have_value(seed)
    studio.get_by_label("Seed").fill("")
    tile(studio, "a lighthouse").click()
    box.get_by_role("button", name="Vary").click()
    expect(tile(studio, "a lighthouse")).to_have_count(2, timeout=RENDERED)

    tile(studio, "a lighthouse").first.click()
    expect(box.get_by_role("button", name="Next image")).to_be_enabled()
    expect(box.get_by_role("button", name="Previous image")).to_be_hidden()
    studio.keyboard.press("ArrowRight")
    expect(box.locator("dt", has_text="Seed").locator("+ dd")).to_have_text(seed)
    studio.keyboard.press("z")
    expect(box.locator(".stage")).to_have_class("stage zoomed")
    keep(studio, "studio-lightbox")
    studio.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(tile(studio, "a lighthouse").nth(1).get_by_role("link")).to_be_focused()


def test_form__shows_an_error_beside_its_field_and_the_request_as_code(studio):
    studio.context.grant_permissions(["clipboard-read", "clipboard-write"])
    studio.get_by_text("Advanced").click()
    labels = studio.get_by_role("textbox", name="Labels").first
    labels.fill("two words=x")
    create(studio, "it's a lighthouse")
    expect(labels).to_have_attribute("aria-invalid", "true")
    expect(labels).to_be_focused()
    expect(studio.locator("#labels-error")).to_be_visible()

    labels.fill("project=harbour")
    studio.get_by_role("button", name="As code").click()
    studio.get_by_role("button", name="Python").click()
    studio.get_by_role("button", name="Copy").click()

    expect(studio.get_by_role("button", name="Copied")).to_be_visible()
    copied = studio.evaluate("navigator.clipboard.readText()")
    assert '"prompt": "it\'s a lighthouse"' in copied
    assert '"project": "harbour"' in copied
    compile(copied, "copied", "exec")


@pytest.fixture
def make_gallery(page, make_token, dev) -> Callable[[int], Page]:
    """The studio of a key with so many images."""

    def make(count: int) -> Page:
        token = make_token()
        generation = dev.wait_for(dev.create(prompt="a lighthouse", width=768)["id"], "completed")
        dev.execute(COPY, id=generation["id"], prefix=token[:14], count=count)
        return sign_in(page, token)

    return make


def test_selection__is_labelled_downloaded_and_moved_to_the_bin_and_back(make_gallery, tmp_path):
    studio = make_gallery(60)
    tiles, bar = studio.locator(".tile"), studio.get_by_role("form", name="Selection")
    tiles.nth(1).get_by_role("link").click(modifiers=["Control"])
    tiles.nth(4).get_by_role("link").click(modifiers=["Shift"])
    expect(bar.get_by_role("status")).to_have_text("4 selected")
    tiles.nth(2).get_by_role("checkbox").click()
    expect(bar.get_by_role("status")).to_have_text("3 selected")

    bar.get_by_role("button", name="Label").click()
    bar.get_by_label("Labels").fill("two words")
    bar.get_by_label("Labels").press("Enter")
    expect(bar.get_by_role("alert")).not_to_be_empty()
    bar.get_by_label("Labels").fill("project=harbour")
    bar.get_by_role("button", name="Add").click()
    expect(studio.get_by_text("3 images labelled.")).to_be_visible()
    with studio.expect_download() as download:
        bar.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "images.zip")
    archive = ZipFile(tmp_path / "images.zip")
    assert archive.testzip() is None
    assert len(archive.namelist()) == 3
    keep(studio, "studio-selection")

    with studio.expect_popup() as popup:
        studio.evaluate("open('/?label=project%3Dharbour')")
    other = popup.value
    expect(other.locator(".tile")).to_have_count(3)
    bar.get_by_role("button", name="Delete").click()
    expect(studio.get_by_text("3 images moved to the bin.")).to_be_visible()
    expect(bar).to_be_hidden()
    expect(other.get_by_text("Nothing has been found.")).to_be_visible()
    studio.get_by_role("button", name="Undo").click()
    expect(other.locator(".tile")).to_have_count(3)
    other.close()

    tiles.first.get_by_role("link").focus()
    for key in ("Space", "ArrowRight", "Space", "Delete"):
        studio.keyboard.press(key)
    expect(studio.get_by_text("2 images moved to the bin.")).to_be_visible()
    studio.get_by_label("Status").select_option("bin")
    expect(tiles).to_have_count(2)
    tiles.first.get_by_role("checkbox").click()
    bar.get_by_role("button", name="Restore").click()
    expect(tiles).to_have_count(1)


# What a worker does with the image of a renderer.
PREVIEW = """
    WITH running AS (
        UPDATE generations_generation SET status = 1, attempts = 1, started_at = now() WHERE prompt = %(prompt)s
        RETURNING id
    ), stored AS (
        INSERT INTO generations_preview SELECT id, 1, %(image)s FROM running
        ON CONFLICT (generation_id) DO UPDATE SET image = excluded.image
    )
    SELECT pg_notify('lockngen_generation', payload::text) FROM running, LATERAL (VALUES
        (jsonb_build_object('id', id)),
        (jsonb_build_object('id', id, 'attempt', 1, 'percent', 40, 'preview', %(number)s::int))
    ) AS sent (payload)
"""


def test_preview__is_shown_while_the_image_is_rendered(studio, dev):
    prompt = "a lighthouse that is rendered slowly"
    image = studio.get_by_role("img", name=f"Preview of {prompt}")

    def publish(number: int) -> None:
        content = formats.preview(encoded("PNG", (number * 100, 100), colour="teal"))
        dev.execute(PREVIEW, prompt=prompt, image=content, number=number)

    with dev.paused_worker():
        create(studio, prompt)
        row = studio.locator(".queue li", has_text=prompt)
        expect(row).to_be_visible()
        publish(1)
        expect(row).to_have_class("processing")
        studio.evaluate(SHIFTS.replace("buffered: true", "buffered: false"))
        for number in (2, 3):
            publish(number)
            expect(image).to_have_attribute("src", re.compile(f"number={number}$"))
            expect(image).to_have_js_property("naturalWidth", number * 100)
        assert studio.evaluate("window.shifts") == []
        keep(studio, "studio-preview")
        create(studio, "another lighthouse")
        expect(studio.locator(".queue li")).to_have_count(2)
        expect(image).to_have_attribute("src", re.compile("number=3$"))

    expect(tile(studio, prompt)).to_be_visible(timeout=RENDERED)
    expect(image).to_be_hidden()


SHIFTS = """window.shifts = []; new PerformanceObserver((list) => {
  for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) window.shifts.push(value);
}).observe({ type: "layout-shift", buffered: true });"""


def scroll_through(page: Page, count: int) -> int:
    """Scroll to the end of so many images. Returns the largest number of tiles that the page had."""
    most = 0
    for _ in range(count):
        page.mouse.wheel(0, 3000)
        page.wait_for_timeout(50)  # as one scrolls
        most = max(most, page.locator(".tile").count())
        if page.evaluate("!document.querySelector('.more') && scrollY + innerHeight >= document.body.scrollHeight - 2"):
            return most
    raise AssertionError("The gallery doesn't end.")


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.faults)])
def test_gallery__holds_what_is_near_and_moves_nothing(make_gallery, page, count):
    page.add_init_script(SHIFTS)
    studio = make_gallery(count)
    expect(studio.locator(".tile").first).to_be_visible()
    first = studio.locator(".tile").first.get_attribute("data-id")

    most = scroll_through(studio, count)

    assert most <= 240
    assert studio.locator(".page").count() == -(-count // 40)
    studio.evaluate("scrollTo(0, 0)")
    expect(studio.locator(f'.tile[data-id="{first}"]')).to_be_visible()
    assert sum(studio.evaluate("window.shifts")) == 0


def test_lightbox__loads_the_next_page_and_has_addresses(make_gallery):
    studio = make_gallery(45)
    tiles = studio.locator(".tile")
    tiles.first.get_by_role("link").click()
    box = studio.get_by_role("dialog", name="Image")
    expect(box.get_by_role("button", name="Next image")).to_be_enabled()
    for _ in range(44):
        address = studio.url
        box.get_by_role("button", name="Next image").click()
        expect(studio).not_to_have_url(address)
    expect(box.get_by_role("button", name="Next image")).to_be_hidden()

    studio.keyboard.press("Delete")
    expect(box.get_by_text("1 image moved to the bin.")).to_be_visible()
    box.get_by_role("button", name="Undo").click()
    studio.goto(address)
    expect(box.get_by_text("a lighthouse", exact=True)).to_be_visible()
    studio.goto(f"/?image={uuid4()}")
    expect(box.get_by_text("There is no such image.")).to_be_visible()


def test_studio__is_accessible_and_fits_the_screen(make_gallery):
    studio = make_gallery(5)
    expect(studio.locator(".tile").first).to_be_visible()
    studio.locator(".tile").first.get_by_role("checkbox").click()
    studio.get_by_role("button", name="Label").click()
    found = flaws(studio)
    studio.get_by_role("button", name="Clear").click()
    studio.locator(".tile").first.get_by_role("link").click()
    expect(studio.get_by_role("dialog", name="Image").get_by_role("button", name="Vary")).to_be_visible()

    assert found + flaws(studio) == []


def test_studio__survives_a_restart_of_the_web_and_ends_with_its_key(browser, make_token, dev):
    token = make_token()
    page = browser.new_page(base_url=f"http://127.0.0.1:{dev.port}")  # its console has the 401 of the revoked key
    sign_in(page, token)

    dev.restart_web()
    create(page, "a lighthouse after the restart")
    expect(tile(page, "a lighthouse after the restart")).to_be_visible(timeout=RENDERED)

    assert dev.manage("apikey", "revoke", token[:14]).returncode == 0
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_role("button", name="Open the studio")).to_be_visible()
    page.close()
