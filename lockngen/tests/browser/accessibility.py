"""What axe finds on a page, light and dark, on a desktop and on a phone."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

AXE = Axe().axe_script
# Swagger UI is not ours. Preloading would request imported style sheets at the wrong address.
RUN = """rules => axe.run({exclude: ['#swagger-ui']}, {
    resultTypes: ['violations'], preload: false, ...(rules && {runOnly: {type: 'rule', values: rules}}),
}).then(({violations}) => violations.filter(({impact}) => ['serious', 'critical'].includes(impact)).flatMap(
    ({id, nodes}) => nodes.map(({html}) => `${id}: ${html.slice(0, 200)}`)))"""
# Colours change to those of the other scheme in transitions.
END_TRANSITIONS = "document.getAnimations().forEach(found => found instanceof CSSTransition && found.finish())"
# Contrast depends on the scheme and most other rules on what is shown at a width: two views are seen by all rules.
DEPENDS_ON_THE_VIEW = ["color-contrast", "link-in-text-block", "scrollable-region-focusable"]
VIEWS = [
    ("light", 1280, None),
    ("dark", 1280, DEPENDS_ON_THE_VIEW),
    ("dark", 390, None),
    ("light", 390, DEPENDS_ON_THE_VIEW),
]


def flaws(page: Page) -> list[str]:
    """What axe calls serious or critical and what is wider than the screen, in each of the views."""
    found = []
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    for scheme, width, rules in VIEWS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 860})
        page.evaluate(END_TRANSITIONS)
        view = f"{page.url} {scheme} {width}"
        found += [f"{view} {violation}" for violation in page.evaluate(RUN, rules)]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{view} is wider than the screen")
    return found


def flaws_of(page: Page, *paths: str) -> list[str]:
    found = []
    for path in paths:
        page.goto(path)
        found += flaws(page)
    return found
