"""A real browser for tests and pictures: the system's Chromium, driven by Playwright, and axe-core for what
it shows (extra ``browser``)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["axe_violations", "missing", "open_browser", "overflowing"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
_OVERFLOWING = """() => [document.documentElement, ...document.querySelectorAll("body *")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth
        && getComputedStyle(one).textOverflow !== "ellipsis" && getComputedStyle(one).display !== "inline")
    .map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`)"""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str:
    """What is missing for a browser; empty if nothing is."""
    try:
        import axe_playwright_python  # noqa: F401
        import playwright.sync_api  # noqa: F401
    except ImportError as error:
        return f"no browser test: {error.name} is not installed (pip install '.[browser]')"
    return (
        ""
        if executable()
        else f"no browser test: none of {', '.join(NAMES)} found (apt-get install chromium)"
    )


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A new browser with an empty profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def axe_violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is now, of any impact: rule, impact and the first element
    of each."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8") + "\nundefined")
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']} ({one['impact']}): {one['nodes'][0]['html']}" for one in found]


def overflowing(page: Page) -> list[str]:
    """Every element whose content is wider than itself, but for those that show an ellipsis."""
    found: list[str] = page.evaluate(_OVERFLOWING)
    return found
