"""The page for everyone: by keyboard, in light and dark, on a phone; axe-core finds nothing wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kalshi_feed.simulator import Exchange
from tests.cli.support import Access
from tests.support import wait_until

from .browser import axe_violations, missing, overflowing
from .support import application, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")]

A, B = '[data-market="KX-A"]', '[data-market="KX-B"]'
TICKERS = "KX-A,KX-B,KX-ONE-SIDE-AND-A-TICKER-AS-LONG-AS-THEY-COME-26NOV30-T115000,kx-nobody"
# of text on what may be behind it
CONTRASTS = """(pairs) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const light = (name) => {
        canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = Array.from(canvas.getImageData(0, 0, 1, 1).data.slice(0, 3))
            .map((one) => one / 255)
            .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    return pairs.map(([text, back]) => [light(text), light(back)])
        .map(([text, back]) => Math.max(text, back) / Math.min(text, back));
}"""
PAIRS = [
    *[(text, "panel") for text in ("text", "strong", "faint", "bid", "ask", "warn")],
    *[("faint", back) for back in ("back", "middle", "still-bar")],
    *[("text", back) for back in ("bid-bar", "ask-bar")],
    *[("badge", back) for back in ("bid", "ask", "warn", "faint")],
    ("line", "back"),
]


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Access]:
    """Deep and long, empty, one-sided, and one market that the exchange does not know."""
    with Exchange() as exchange:
        deep = {f"0.{cents:02d}": cents + 0.5 for cents in range(1, 40)}
        exchange.add_market("KX-A", yes={**deep, "0.4005": "1234567.5"}, no={**deep, "0.5040": "999999.99"})
        exchange.add_market("KX-B")
        exchange.add_market(TICKERS.split(",")[2], yes={"0.0001": 1_000_000})
        yield Access(exchange, tmp_path / "access")


def is_shown(page: Page, market: str) -> bool:
    return page.locator(market).is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(page: Page, faults: list[str], odd: Access, scheme: Any) -> None:
    app, feeds = application(odd, KALSHI_TICKERS=TICKERS)
    page.emulate_media(color_scheme=scheme)
    with serving(app, feeds) as port:
        url = f"http://127.0.0.1:{port}/"
        page.goto(url)
        page.wait_for_selector(f"{A}[data-live=true]")
        page.wait_for_selector('[data-market="kx-nobody"][data-status=UNKNOWN]')
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(11, 14, 19)") == (scheme == "dark")
        contrasts = dict(zip(PAIRS, page.evaluate(CONTRASTS, PAIRS), strict=True))
        assert {pair: one for pair, one in contrasts.items() if one < 4.5} == {}
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            for view in ("", "#KX-A"):
                page.goto(url + view)
                wait_until(lambda v=view: is_shown(page, B) != bool(v), 5, "the view")
                page.wait_for_selector(f"{A}[data-live=true]")
                assert (axe_violations(page), overflowing(page)) == ([], []), (width, view)
        odd.exchange.reject_next(1000, 503)
        odd.exchange.reset()
        page.goto(url)
        page.wait_for_selector(f"{A}[data-live=false]")
        page.wait_for_selector("#state[data-is=RECONNECTING]")
        assert (axe_violations(page), overflowing(page)) == ([], [])
        assert faults == []


def test_by_keyboard(page: Page, faults: list[str], odd: Access) -> None:
    app, feeds = application(odd, KALSHI_TICKERS=TICKERS)
    with serving(app, feeds) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(f"{A}[data-live=true]")
        page.wait_for_selector(f"{B}[data-live=true]")
        assert page.locator(f"{A} .bids tr:visible").count() == 9
        page.keyboard.press("Tab")
        page.keyboard.type("x-a")
        assert is_shown(page, A) and not is_shown(page, B) and page.text_content("#count") == "1 of 4"
        page.keyboard.type("?")
        assert page.text_content("#note") == "No market's ticker or title contains “x-a?”"
        page.keyboard.press("Escape")
        assert is_shown(page, A) and is_shown(page, B) and page.input_value("#filter") == ""
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle")
        assert (page.evaluate("document.activeElement.textContent"), outline) == ("KX-A", "solid")
        page.keyboard.press("Enter")
        wait_until(lambda: not is_shown(page, B), 5, "the market's own view")
        assert is_shown(page, A) and page.url.endswith("/#KX-A") and page.title() == "KX-A · kalshi_feed"
        wait_until(lambda: page.locator(f"{A} .bids tr:visible").count() == 20, 5, "more levels")
        assert page.evaluate("document.activeElement.id") == "back"
        page.keyboard.press("Escape")
        wait_until(lambda: is_shown(page, B), 5, "all markets")
        assert page.evaluate("document.activeElement.textContent") == "KX-A", "back where it was opened"
        wait_until(lambda: page.locator(f"{A} .bids tr:visible").count() == 9, 5, "as many levels as before")
        page.click(f"{B} > header")
        wait_until(lambda: is_shown(page, B) and not is_shown(page, A), 5, "the market that was clicked")
        page.click("#back")
        wait_until(lambda: is_shown(page, A), 5, "all markets")
        page.goto(f"http://127.0.0.1:{port}/#OTHER")
        wait_until(lambda: page.text_content("#note") == "This server does not show OTHER", 5, "the note")
        assert faults == []
