"""The studio's gallery: search, selection, the bin, and many images."""

from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image
from playwright.sync_api import Download, Page, Route, expect

from lockngen.tests.browser.screenshots import keep
from lockngen.tests.support.waiting import wait_until

SHIFTS = """window.shifts = []; new PerformanceObserver((list) => {
  for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) window.shifts.push(value);
}).observe({ type: "layout-shift", buffered: true });"""


def opened(download: Download, folder: Path) -> ZipFile:
    download.save_as(folder / "images.zip")
    return ZipFile(folder / "images.zip")


def test_search__finds_images_that_are_selected_labelled_and_downloaded(service, open_studio, tmp_path):
    prompts = ["red boats in a harbour", "red sails", "blue boats in a harbour", "a harbour with red boats"]
    created = [service.create(prompt=prompt, labels={"place": "sea"}) for prompt in prompts]
    images = [service.wait_for(each["id"], "completed") for each in created]
    studio = open_studio()
    tiles, bar = studio.locator(".tile"), studio.get_by_role("form", name="Selection")
    search = studio.get_by_role("searchbox")
    for text, count in {"red": 3, '"red boats"': 2, "harbour -blue": 2, "red -boats": 1, "green": 0}.items():
        search.fill(text)
        expect(tiles).to_have_count(count)
    search.fill('"red boats"')
    expect(tiles).to_have_count(2)

    tiles.first.get_by_role("checkbox").click()
    tiles.last.get_by_role("link").click(modifiers=["Shift"])
    expect(bar.get_by_role("status")).to_have_text("2 selected")
    bar.get_by_role("button", name="Label").click()
    bar.get_by_label("Labels").fill("colour=red")
    bar.get_by_role("button", name="Add").click()
    expect(studio.get_by_text("2 images labelled.")).to_be_visible()
    with studio.expect_download() as download:
        bar.get_by_role("button", name="Download").click()

    archive = opened(download.value, tmp_path)
    contents = {archive.read(name) for name in archive.namelist()}
    assert archive.testzip() is None
    assert contents == {service.ask(images[number]["image_url"]) for number in (0, 3)}
    assert {Image.open(archive.open(name)).size for name in archive.namelist()} == {(96, 64)}
    assert ["red-boats" in name for name in archive.namelist()] == [True, True]

    search.fill("")
    expect(tiles).to_have_count(4)
    studio.locator("summary", has_text="Filters").click()
    filters = studio.get_by_role("search")
    for name, text, count in [("Label", "colour=red", 2), ("Label", "", 4), ("From", "2100-01-01", 0), ("From", "", 4)]:
        filters.get_by_label(name).fill(text)
        filters.get_by_label(name).press("Tab")
        expect(tiles).to_have_count(count)


def test_selection__is_moved_to_the_bin_and_back(fill_gallery, open_studio):
    fill_gallery(60)
    studio = open_studio()
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
    bar.get_by_label("Labels").press("Enter")
    expect(studio.get_by_text("3 images labelled.")).to_be_visible()
    keep(studio, "studio-selection")

    other = studio.context.new_page()
    other.goto("/?label=project%3Dharbour")
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


def scroll_through(page: Page, pages: int) -> int:
    """Scroll until so many pages are loaded and the last is visible. Returns the largest number of tiles at once."""
    most, last = 0, page.locator(".page").nth(pages - 1)
    while not (last.count() and last.evaluate("page => page.getBoundingClientRect().bottom <= innerHeight + 100")):
        page.mouse.wheel(0, 3000)
        page.wait_for_timeout(50)  # as one scrolls
        most = max(most, page.locator(".tile").count())
    return most


def test_gallery__holds_what_is_near_and_moves_nothing(fill_gallery, open_studio):
    fill_gallery(300)
    studio = open_studio(script=SHIFTS)
    first = studio.locator(".tile").first.get_attribute("data-id")

    most = scroll_through(studio, 8)

    assert most <= 240
    studio.evaluate("scrollTo(0, 0)")
    expect(studio.locator(f'.tile[data-id="{first}"]')).to_be_visible()
    assert sum(studio.evaluate("window.shifts")) == 0


def memory(page: Page) -> tuple[float, int]:
    """The size of the JavaScript heap in MB and the number of nodes, without what can be collected."""
    session = page.context.new_cdp_session(page)
    for method in ("HeapProfiler.enable", "HeapProfiler.collectGarbage", "Performance.enable"):
        session.send(method)
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return metrics["JSHeapUsedSize"] / 1e6, metrics["Nodes"]


@pytest.mark.faults
def test_memory__is_bounded_while_one_scrolls_through_2000_images(fill_gallery, open_studio):
    fill_gallery(2000)
    studio = open_studio(script=SHIFTS)
    scroll_through(studio, 5)
    heap, nodes = memory(studio)  # 2.6 MB, 4,900

    most = scroll_through(studio, 50)

    assert most <= 240
    wait_until(lambda: memory(studio)[1] <= nodes, 20)  # images that are loading keep their tiles
    assert memory(studio)[0] < heap + 1
    assert sum(studio.evaluate("window.shifts")) == 0


def test_visit__requests_the_gallery_once(fill_gallery, studio):
    fill_gallery(2)
    requested = []
    studio.on("request", lambda request: requested.append(request.url.partition("?")[0].rpartition("/")[2]))

    studio.reload()

    # The queue is requested again when the stream has started.
    wait_until(lambda: studio.wait_for_timeout(50) or requested.count("queue") == 2)
    assert [requested.count(each) for each in ("gallery", "events")] == [1, 1]


def test_image__that_is_completed_before_the_event_stream_starts_is_shown(studio, service):
    def start_late(route: Route) -> None:
        service.wait_for(service.create(prompt="between")["id"], "completed")
        route.continue_()

    studio.route("**/studio/events?*", start_late)

    studio.reload()

    expect(studio.locator(".tile")).to_have_count(1)
