"""KALSHI_SERIES and KALSHI_EVENTS: markets that come and go, in the JSON and in the streams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kalshi_feed import KalshiFeed
from kalshi_feed.contrib.flask.streams import events as stream_events
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.cli.support import Access
from tests.support import wait_until

from .support import application, desk_of, events_of, get, serving, stream

pytestmark = pytest.mark.slow


@pytest.fixture
def series(tmp_path: Path) -> Iterator[Access]:
    with Exchange(markets=("KX-A",), rate=20, seed=5, key_type="ed25519") as exchange:
        exchange.rest_tier = None
        yield Access(exchange, tmp_path / "access")


def test_a_series_in_json_and_in_streams(series: Access) -> None:
    exchange = series.exchange
    long = exchange.run_series("KXLONG", every=60, rounds=1)
    long.wait_for(1, "opened")
    [kept] = long.market_tickers
    app, feeds = application(
        series, KALSHI_TICKERS="KX-A", KALSHI_SERIES="KXLONG", KALSHI_REST_URL=exchange.rest_url
    )
    rest = Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context)

    @feeds.on_start
    def prepare(feed: KalshiFeed) -> None:  # its markets are gone sooner than with KALSHI_SERIES
        feed.follow(series="KXFAST", linger=0.3, rest=rest)

    with rest, serving(app, feeds) as port:
        wait_until(lambda: len(get(port, "/books")[1]["books"]) == 2, 10, "the series' market")
        found = get(port, "/books")[1]
        assert found["feed"]["following"] == ["KXLONG"]
        fixed, followed = found["books"]
        assert (fixed["market_ticker"], fixed["phase"], fixed["market"]) == ("KX-A", None, None)
        assert (followed["market_ticker"], followed["phase"]) == (kept, "open")
        assert followed["market"]["title"] and followed["market"]["close_at"]
        assert get(port, f"/books/{kept}")[1]["market"] == followed["market"]

        run = exchange.run_series(
            "KXFAST", every=1, length=2, rounds=2, pace=100, determine_after=0.5, settle_after=1
        )
        phases: dict[str, list[str]] = {}
        gone: list[str] = []
        deadline = time.monotonic() + 20
        with stream(port) as events:
            for kind, data in events:
                assert time.monotonic() < deadline, (phases, gone)
                ticker = data["market_ticker"] if kind in ("market", "gone") else ""
                if kind == "market" and ticker.startswith("KXFAST"):
                    assert data["market"]["market_ticker"] == ticker
                    if not phases:
                        single = stream_events(desk_of(app), ticker)
                        assert "event: history" in next(single) + next(single)
                    if data["phase"] not in phases.setdefault(ticker, [])[-1:]:
                        phases[ticker].append(data["phase"])
                elif kind == "gone":
                    gone.append(ticker)
                if len(phases) == 2 and all(said[-1].startswith("settled") for said in phases.values()):
                    break
        first, second = run.market_tickers
        assert gone == [first, second], "and the settlement came after that"
        for said in phases.values():
            result = said[-1].removeprefix("settled ")
            life = ("unopened", "open", "closed", f"determined {result}", f"settled {result}")
            assert said == [phase for phase in life if phase in said], "in order; a look may miss one"
            assert result in ("yes", "no") and "open" in said
        rest_of_it = [event for event in events_of("".join(single)) if event.kind in ("market", "gone")]
        assert rest_of_it[-1] == ("gone", {"market_ticker": first}), "and that is its end"

        status, answer = get(port, f"/books/{first}")
        assert (status, answer["phase"]) == (404, phases[first][-1])
        assert answer["error"] == f"{first} is over: {answer['phase']}"
        assert get(port, f"/stream/{first}")[0] == 404
        assert get(port, "/books/KXFAST-NEVER")[1] == {"error": "no market KXFAST-NEVER here"}
        assert set(desk_of(app).tape._markets) <= {"KX-A", kept}, "nothing is kept of markets that are gone"
        assert [book["market_ticker"] for book in get(port, "/books")[1]["books"]] == ["KX-A", kept]
