"""The page while a series rolls on: new markets appear, those that are over say so and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.cli.support import Access
from tests.support import wait_until

from .browser import axe_violations, missing, overflowing
from .support import application, desk_of, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")]

SERIES = "KXPAGE"
SHOWN = (
    f"""() => [...document.querySelectorAll("[data-market^={SERIES}]")].map((one) => one.dataset.market)"""
)
FIRST = f"""() => {{
    const card = document.querySelector("[data-market^={SERIES}][data-live=true]");
    return [card.dataset.market, ...[".title", "time"].map((name) => card.querySelector(name).textContent)];
}}"""


@pytest.fixture
def rolling(tmp_path: Path) -> Iterator[Access]:
    with Exchange(markets=("KX-A",), rate=5, seed=5, key_type="ed25519") as exchange:
        exchange.rest_tier = None
        yield Access(exchange, tmp_path / "access")


def test_a_series_rolls_on(page: Page, faults: list[str], rolling: Access) -> None:
    exchange = rolling.exchange
    exchange.run_series(SERIES, every=3, markets=2, determine_after=0.2, settle_after=0.4, pace=20)
    app, feeds = application(rolling, KALSHI_TICKERS="KX-A")
    rest = Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context)
    feeds.on_start(lambda feed: feed.follow(series=SERIES, lead=1, linger=0.8, rest=rest))
    with rest, serving(app, feeds) as port:
        url = f"http://127.0.0.1:{port}/"
        page.goto(url)
        page.wait_for_selector(f'[data-market^="{SERIES}"][data-live=true]')
        first, title, clock = page.evaluate(FIRST)
        # followed a second before it opens, it may be the first one of the next slot
        assert title == rest.market(first).title and clock.startswith(("opens in 0:0", "closes in 0:0"))
        assert not page.locator('[data-market="KX-A"] .about').is_visible()

        card = page.locator(f'[data-market="{first}"]')
        card.locator(".ticker a").click()  # it closes while one looks at it
        badge = card.locator(".status")
        wait_until(lambda: (badge.text_content() or "").startswith("settled "), 15, "the settlement")
        said = badge.text_content()
        assert card.locator(".spread").text_content() == said
        assert (card.locator("time").text_content() or "").startswith("closed 0:0")
        assert card.locator(".ladder tr:visible").count() == 2, "no room for an empty book"
        wait_until(
            lambda: first not in desk_of(app).market_tickers(), 15, "the server not to show it anymore"
        )
        page.wait_for_selector("#newest:not([hidden])")
        over, newest = (page.text_content("#note") or "").split(f". The newest market of {SERIES}: ")
        assert over == f"{first} is over: {said}"
        assert newest > first and newest[-3:] == first[-3:], "the same strike"
        assert card.is_visible()
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 390, "height": 800})
        assert (axe_violations(page), overflowing(page)) == ([], [])

        page.click("#newest")
        newest = page.url.partition("#")[2]
        wait_until(lambda: page.locator(f'[data-market="{newest}"]').is_visible(), 5, "the newest")
        assert first not in page.evaluate(SHOWN)
        page.goto(url + f"#{first}")  # an old bookmark
        wait_until(lambda: page.locator("#newest").is_visible(), 10, "the offer")
        assert (page.text_content("#said") or "").startswith(
            f"This server does not show {first}. The newest "
        )
        page.keyboard.press("Escape")
        before = set(page.evaluate(SHOWN))
        page.locator(f'[data-market="{max(before)}"] .ticker a').focus()
        wait_until(lambda: before and not before & set(page.evaluate(SHOWN)), 20, "all of them to go")
        assert page.evaluate("document.activeElement.tagName") in ("A", "INPUT"), "the focus is not lost"
        wait_until(lambda: page.locator(f'[data-market^="{SERIES}"][data-live=true]').count(), 10, "others")
        page.emulate_media(color_scheme="light")
        assert overflowing(page) == []
        page.set_viewport_size({"width": 1280, "height": 800})
        assert (axe_violations(page), overflowing(page), faults) == ([], [], [])
