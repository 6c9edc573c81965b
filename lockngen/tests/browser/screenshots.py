import os
from pathlib import Path

from playwright.sync_api import Page

SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder that gets a picture of every page


def keep(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")
