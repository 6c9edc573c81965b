"""The admin in a real Chromium against a real, whole LockN Gen."""

from playwright.sync_api import Page, expect

from lockngen.tests.browser.screenshots import keep

PROMPTS = ["a lighthouse at dusk", "snow on the mountains", "a neon city by the river", "dunes under a large sun"]


def test_admin__shows_images_and_deletes_and_restores_them(admin, service):
    for number, prompt in enumerate(PROMPTS):
        service.wait_for(service.create(prompt=prompt, seed=number)["id"], "completed")

    admin.goto("/admin/generations/generation/")
    for number in range(4):
        admin.locator(".field-thumbnail img").nth(number).evaluate("image => image.decode()")
    keep(admin, "admin-generations")

    admin.locator("#result_list tbody tr").first.get_by_role("checkbox").check()
    admin.get_by_label("Action:").select_option("delete_selected")
    admin.get_by_role("button", name="Go").click()
    expect(admin.get_by_text("can be restored here")).to_be_visible()
    admin.get_by_role("button", name="Yes, delete").click()
    expect(admin.get_by_text("Successfully deleted 1 generation.")).to_be_visible()
    assert PROMPTS[-1] not in [generation["prompt"] for generation in service.newest()]

    admin.locator("#changelist-filter").get_by_role("link", name="Yes").first.click()
    admin.locator("#result_list tbody tr").first.get_by_role("checkbox").check()
    admin.get_by_label("Action:").select_option("restore")
    admin.get_by_role("button", name="Go").click()
    expect(admin.get_by_text("Restored: 1.")).to_be_visible()
    assert PROMPTS[-1] in [generation["prompt"] for generation in service.newest()]


def test_admin__shows_one_generation_without_a_way_to_change_it(admin, service):
    id = service.wait_for(service.create(prompt=PROMPTS[0])["id"], "completed")["id"]

    admin.goto(f"/admin/generations/generation/{id}/change/")

    image = admin.locator(".field-full_image img")
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") == 96
    keep(admin, "admin-generation")
    assert admin.get_by_role("button", name="Save").count() == 0


def shown_token(page: Page) -> str:
    return page.get_by_label("Token").input_value()


def test_admin__makes_a_key_and_shows_its_token_once(key_page, service):
    token = shown_token(key_page)
    assert service.answers_to(token) == 200

    key_page.get_by_role("button", name="Copy").click()
    expect(key_page.get_by_role("button", name="Copied")).to_be_visible()
    assert key_page.evaluate("navigator.clipboard.readText()") == token

    # Without TLS, and not on this machine, a browser has no clipboard for scripts.
    key_page.evaluate("navigator.clipboard.writeText('nothing')")
    key_page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    key_page.get_by_role("button", name="Copied").click()
    key_page.get_by_label("Token").evaluate("field => { field.readOnly = false; field.value = ''; field.focus() }")
    key_page.keyboard.press("Control+V")
    expect(key_page.get_by_label("Token")).to_have_value(token)

    count = service.count("apikeys_apikey")
    key_page.reload()  # which sends the form again
    expect(key_page.get_by_text("already exists")).to_be_visible()
    assert token not in key_page.content()
    assert service.count(f"apikeys_apikey WHERE prefix = '{token[:14]}'") == 1
    assert service.count("apikeys_apikey") == count


def test_admin__rotates_and_revokes_a_key(key_page, service):
    old = shown_token(key_page)
    key_page.get_by_role("link", name="continue to the key").click()
    key_page.get_by_role("button", name="Rotate").click()
    key_page.get_by_label("It stops working at once").check()
    keep(key_page, "admin-rotate")
    key_page.get_by_role("button", name="Rotate the key").click()
    expect(key_page.get_by_role("heading", name="Key rotated")).to_be_visible()
    new = shown_token(key_page)
    assert (service.answers_to(old), service.answers_to(new)) == (401, 200)

    key_page.reload()
    expect(key_page.get_by_text("was rotated before")).to_be_visible()
    expect(key_page.locator(".field-state_label .key-state")).to_have_text("expired")
    assert new not in key_page.content()

    key_page.locator(".field-replaced_by_key a").click()
    key_page.get_by_role("button", name="Revoke").click()
    key_page.get_by_label("Also cancel pending generations").check()
    keep(key_page, "admin-revoke")
    key_page.get_by_role("button", name="Revoke permanently").click()
    expect(key_page.get_by_text("Revoked: 1.")).to_be_visible()
    expect(key_page.locator(".field-state_label .key-state")).to_have_text("revoked")
    expect(key_page.locator(".key-events tbody tr").first).to_contain_text("ann (admin)")
    keep(key_page, "admin-key")
    assert service.answers_to(new) == 401


def test_admin__shows_what_goes_on_and_renews_it(admin, service):
    admin.clock.install()
    admin.goto("/admin/")
    admin.get_by_role("link", name="Status").click()
    expect(admin.get_by_role("row", name="sketch:")).to_contain_text("ok")
    expect(admin.get_by_text("alive")).to_be_visible()
    before = admin.locator("#as-of").inner_text()
    admin.evaluate("window.isSamePage = true")

    service.wait_for(service.create(prompt=PROMPTS[0])["id"], "completed")

    admin.wait_for_timeout(1000)  # the time shown has seconds
    admin.clock.fast_forward("00:10")
    expect(admin.locator("#as-of")).not_to_have_text(before)
    assert admin.evaluate("window.isSamePage")
    admin.get_by_role("button", name="Pause").click()
    expect(admin.get_by_role("button", name="Resume")).to_be_focused()
    keep(admin, "admin-status")
