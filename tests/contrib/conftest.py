"""An exchange for each test, an environment that names no other, and a browser for the tests of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kalshi_feed.simulator import Exchange
from tests.cli.support import Access

from .browser import open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(autouse=True)
def no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("KALSHI_"):
            monkeypatch.delenv(name)


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Access]:
    with Exchange(markets=("KX-A", "KX-B"), rate=200, seed=5) as exchange:
        yield Access(exchange, tmp_path / "access")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """In a new profile, so that no connection outlives its test."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture
def faults(page: Page) -> list[str]:
    """The errors and warnings in the page's console, such as a breach of the policy."""
    found: list[str] = []

    def hear(message: Any) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found
