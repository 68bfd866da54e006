"""The page in a real browser: it follows the exchange's books, says STALE when the feed is cut, and comes
back by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from kalshi_feed.simulator import Exchange
from tests.cli.support import Access
from tests.support import wait_until

from .browser import missing
from .support import application, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")]

A = '[data-market="KX-A"]'
READ = """(side) => Array.from(document.querySelectorAll(`[data-market="KX-A"] .${side} tr`))
    .map((row) => [row.cells[1].textContent, row.cells[2].textContent, row.querySelector(".size").textContent])
    .filter((row) => row[0])"""  # noqa: E501


def test_S39_the_page_explains_an_unknown_market(page: Page, faults: list[str], access: Access) -> None:
    app, feeds = application(access, KALSHI_TICKERS="kx-nobody")
    with serving(app, feeds) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        market = page.locator('[data-market="kx-nobody"]')
        wait_until(lambda: market.locator(".status").text_content() == "UNKNOWN", 10, "UNKNOWN")
        wait_until(
            lambda: "write it in uppercase: KX-NOBODY" in (market.locator(".error").text_content() or ""),
            5,
            "the explanation",
        )
        assert market.locator(".error").is_visible() and not market.locator(".body").is_visible()
        assert not page.locator("#note").is_visible() and faults == []


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Access]:
    with Exchange() as exchange:
        exchange.add_market("KX-A", yes={"0.40": 100, "0.3950": "1234.5"}, no={"0.50": 50})
        exchange.add_market("KX-B")
        yield Access(exchange, tmp_path / "access")


def ladder(page: Page) -> dict[str, list[list[str]]]:
    return {side: page.evaluate(READ, side) for side in ("asks", "bids")}


def test_the_ladder_is_the_exchanges_book(page: Page, faults: list[str], quiet: Access) -> None:
    app, feeds = application(quiet)
    with serving(app, feeds) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(f"{A}[data-live=true]")
        assert ladder(page) == {
            "asks": [["0.50", "0.50", "50"]],
            "bids": [["0.40", "0.60", "100   "], ["0.395", "0.605", "1,234.50"]],
        }
        assert [page.text_content(f"{A} .{name}") for name in ("mid", "no-mid", "spread")] == [
            "0.45",
            "0.55",
            "spread 0.10",
        ]
        assert page.text_content("#state") == "CONNECTED"
        assert page.text_content('[data-market="KX-B"] .spread') == "no orders"
        assert page.text_content("#exchange") == urlsplit(quiet.exchange.url).netloc
        delays = []
        for number in range(1, 6):
            started = time.monotonic()
            quiet.exchange.change("KX-A", "no", "0.55", "6")
            wait_until(
                lambda n=number: ladder(page)["asks"][-1] == ["0.45", "0.55", f"{6 * n}"],
                10,
                "the change",
            )
            delays.append(time.monotonic() - started)
        print("seconds from the exchange's change to the page:", delays)
        assert sorted(delays)[2] < 1
        bars = page.eval_on_selector_all(
            f"{A} .asks .bar", "bars => bars.slice(-2).map(bar => bar.getBoundingClientRect().width)"
        )
        assert bars[0] / bars[1] == pytest.approx(50 / 30, rel=0.05), (
            "bars are as long as the levels are large"
        )
        assert faults == []


def test_it_follows_a_moving_market(page: Page, faults: list[str], access: Access) -> None:
    app, feeds = application(access)
    with serving(app, feeds) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(f"{A}[data-live=true]")
        wait_until(lambda: page.locator(f"{A} .dots path").count() > 2, 15, "trades in the chart")
        wait_until(
            lambda: (page.get_attribute(f"{A} .line", "d") or "").count("H") > 5, 15, "a line that moves"
        )
        assert page.text_content(f"{A} .last")[:2] == "0."  # type: ignore[index]
        access.exchange.quiesce()
        truth = access.exchange.book("KX-A")

        def is_the_truth() -> bool:
            shown = ladder(page)
            bids, asks = (
                [
                    [f"{price:.2f}", f"{size:,.2f}".removesuffix(".00")]
                    for price, size in sorted(truth[side].items(), reverse=True)[:9]
                ]
                for side in ("yes", "no")
            )
            return [[yes, size.rstrip()] for yes, _, size in shown["bids"]] == bids and [
                [no, size.rstrip()] for _, no, size in shown["asks"]
            ][::-1] == asks

        wait_until(is_the_truth, 5, "the page to show the exchange's own book")
        assert faults == []


def test_stale_and_live_again_by_itself(page: Page, faults: list[str], quiet: Access) -> None:
    app, feeds = application(quiet)
    with serving(app, feeds) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(f"{A}[data-live=true]")
        quiet.exchange.reject_next(1000, 503)
        quiet.exchange.reset()
        page.wait_for_selector(f"{A}[data-live=false]", timeout=5000)
        assert page.text_content(f"{A} .status") == "STALE"
        page.wait_for_selector("#state[data-is=RECONNECTING]")
        assert "RECONNECTING" in (page.text_content("#reason") or "")
        assert ladder(page)["bids"], "what was last known is still there, grayed out"
        quiet.exchange.behave()
        page.wait_for_selector(f"{A}[data-live=true]", timeout=30_000)
        page.wait_for_selector("#state[data-is=CONNECTED]")
        assert faults == []


def test_its_server_is_lost_and_comes_back(page: Page, quiet: Access) -> None:
    app, feeds = application(quiet)
    with serving(app, feeds) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(f"{A}[data-live=true]")
        feeds.close(app)  # ends the streams; the next request starts another feed
        page.wait_for_selector(f"{A}[data-live=false]")
        page.wait_for_selector(f"{A}[data-live=true]")
    page.wait_for_selector('#state[data-is="SERVER LOST"]')
    assert page.text_content(f"{A} .status") == "STALE"


def test_it_polls_without_streams(page: Page, quiet: Access) -> None:
    app, feeds = application(quiet)
    inner = app.wsgi_app

    def without_threads(environ: Any, start_response: Any) -> Any:
        return inner(environ | {"wsgi.multithread": False}, start_response)

    app.wsgi_app = without_threads  # type: ignore[method-assign]
    with serving(app, feeds) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(f"{A}[data-live=true]")
        quiet.exchange.change("KX-A", "yes", "0.41", "30")
        wait_until(lambda: ladder(page)["bids"][0] == ["0.41", "0.59", "30   "], 5, "the new level")
