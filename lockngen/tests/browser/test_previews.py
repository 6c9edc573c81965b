"""The image of a renderer, shown in the queue while it is rendered."""

import re

from playwright.sync_api import expect

from generations.images import formats
from generations.tests.support.encoded import encoded
from lockngen.tests.browser.screenshots import keep
from lockngen.tests.browser.test_gallery import SHIFTS
from lockngen.tests.browser.test_studio import RENDERED, create, tile

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


def test_preview__is_shown_while_the_image_is_rendered(studio, service):
    prompt = "a lighthouse that is rendered slowly"
    image = studio.get_by_role("img", name=f"Preview of {prompt}")

    def publish(number: int) -> None:
        content = formats.preview(encoded("PNG", (number * 100, 100), colour="teal"))
        service.execute(PREVIEW, prompt=prompt, image=content, number=number)

    with service.paused_worker():
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
