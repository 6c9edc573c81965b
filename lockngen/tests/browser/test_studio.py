"""The studio in a real Chromium: from a prompt to its image, and what is done with it."""

from uuid import uuid4

from playwright.sync_api import Locator, Page, expect

from lockngen.tests.browser.screenshots import keep

RENDERED = 20_000  # milliseconds in which an image is rendered and shown


def create(page: Page, prompt: str) -> None:
    field = page.get_by_role("textbox", name="Prompt", exact=True)
    field.fill(prompt)
    field.press("Control+Enter")


def tile(page: Page, prompt: str) -> Locator:
    return page.locator(".tile", has=page.get_by_role("img", name=prompt, exact=True))


def test_prompt__becomes_an_image_that_can_be_varied(studio, service):
    with service.paused_worker():
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


def test_lightbox__loads_the_next_page_and_has_addresses(fill_gallery, open_studio):
    fill_gallery(45)
    studio = open_studio()
    tiles = studio.locator(".tile")
    tiles.nth(35).get_by_role("link").click()
    box = studio.get_by_role("dialog", name="Image")
    expect(box).to_be_visible()
    for _ in range(9):
        address = studio.url
        expect(box.get_by_role("button", name="Next image")).to_be_enabled()
        studio.keyboard.press("ArrowRight")
        expect(studio).not_to_have_url(address)
    expect(box.get_by_role("button", name="Next image")).to_be_hidden()
    assert tiles.count() == 45

    studio.keyboard.press("Delete")
    expect(box.get_by_text("1 image moved to the bin.")).to_be_visible()
    box.get_by_role("button", name="Undo").click()
    studio.goto(address)
    expect(box.get_by_text("a lighthouse", exact=True)).to_be_visible()
    studio.goto(f"/?image={uuid4()}")
    expect(box.get_by_text("There is no such image.")).to_be_visible()


def test_image__is_zoomed_by_the_wheel_and_moved_by_dragging(fill_gallery, open_studio):
    fill_gallery(1)
    studio = open_studio()
    studio.locator(".tile a").click()
    image, stage = studio.locator("#lightbox .stage img"), studio.locator("#lightbox .stage")
    image.evaluate("image => image.decode()")
    fit, box = image.bounding_box(), stage.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    studio.mouse.move(x, y)
    studio.mouse.wheel(0, -1500)
    expect(stage).to_have_class("stage zoomed")
    assert image.bounding_box()["width"] == 8 * fit["width"]

    before = image.bounding_box()
    studio.mouse.down()
    studio.mouse.move(x - 40, y - 30, steps=4)
    studio.mouse.up()
    assert image.bounding_box()["x"] < before["x"]
    studio.mouse.wheel(0, 3000)
    expect(stage).to_have_class("stage")


def long_press(page: Page, target: Locator) -> None:
    """Hold a finger on the target for longer than a tap."""
    box, finger = target.bounding_box(), page.context.new_cdp_session(page)
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    page.wait_for_timeout(700)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_long_press__selects_an_image_and_taps_then_others(fill_gallery, open_studio):
    fill_gallery(3)
    studio = open_studio(has_touch=True, is_mobile=True)
    selected = studio.get_by_role("form", name="Selection").get_by_role("status")

    studio.locator("#gallery").evaluate("gallery => gallery.scrollIntoView()")

    long_press(studio, studio.locator(".tile").first)
    expect(selected).to_have_text("1 selected")
    studio.locator(".tile a").nth(1).tap()
    expect(selected).to_have_text("2 selected")
    expect(studio.get_by_role("dialog", name="Image")).to_be_hidden()
