"""What axe finds on a page, light and dark, on a desktop and on a phone."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# Preloading would request imported style sheets at the wrong address.
AXE_OPTIONS = {"resultTypes": ["violations"], "preload": False}
# Colours change to those of the other scheme in transitions.
END_TRANSITIONS = "document.getAnimations().forEach(found => found instanceof CSSTransition && found.finish())"
VIEWS = [("light", 1280), ("dark", 390)]  # contrast depends on the scheme and layout on the width: two views see both


def flaws(page: Page) -> list[str]:
    """What axe calls serious or critical and what is wider than the screen, in each of the views."""
    found = []
    for scheme, width in VIEWS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 860})
        page.evaluate(END_TRANSITIONS)
        # Swagger UI is not ours.
        report = Axe().run(page, context={"exclude": ["#swagger-ui"]}, options=AXE_OPTIONS).response
        found += [
            f"{page.url} {scheme} {violation['id']}: {node['html'][:200]}"
            for violation in report["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{page.url} {scheme} is wider than {width} pixels")
    return found


def flaws_of(page: Page, *paths: str) -> list[str]:
    found = []
    for path in paths:
        page.goto(path)
        found += flaws(page)
    return found
