"""kalshi-feed markets: what it finds, in which order, and how it looks in a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kalshi_feed.cli import asking, finding
from kalshi_feed.cli.commands import group
from kalshi_feed.rest.records import Market, market_in
from kalshi_feed.simulator import Exchange

from .support import kalshi_feed

CAT, DOG, BTC = "KXPET-26NOV30-CAT", "KXPET-26NOV30-DOG", "KXBTC15M-26NOV301530-30"


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with Exchange(key_type="ed25519") as exchange:
        exchange.add_market(CAT, yes={"0.40": 10}, no={"0.55": 7})
        exchange.add_market(DOG, yes={"0.41": 10})
        exchange.add_market(BTC)
        exchange.trade(CAT, "yes", "0.40", 3)
        exchange.trade(DOG, "yes", "0.40", 5)
        _, ca_file = exchange.write_credentials(tmp_path_factory.mktemp("markets"))
        yield {"KALSHI_REST_URL": exchange.rest_url, "KALSHI_CA_FILE": str(ca_file)}


def run(environ: dict[str, str], *arguments: str) -> Result:
    unset: dict[str, str | None] = dict.fromkeys(("KALSHI_ENV", "KALSHI_URL", "KALSHI_API_KEY_ID"))
    return CliRunner().invoke(group, ["markets", *arguments], env={**unset, **environ})


def tickers(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["ticker", "title", "bid", "ask", "volume", "closes"]
    return [line.split()[0] for line in lines]


def test_the_largest_volume_comes_first(environ: dict[str, str]) -> None:
    result = run(environ)
    assert tickers(result) == [DOG, CAT, BTC]
    assert re.search(rf"^{DOG} .*  0\.41     -       5  in \d+ d$", result.stdout, re.MULTILINE), (
        result.stdout
    )
    assert re.search(rf"^{CAT} .*  0\.40  0\.45       3  in ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--sort", "ticker"), [BTC, CAT, DOG]),
        (("CAT",), [CAT]),
        (("happen", "kxpet"), [DOG, CAT]),  # the title's word and the ticker's, in any case
        (("--series", "kxpet", "dog"), [DOG]),
        (("--event", "KXPET-26NOV30", "--sort", "ticker"), [CAT, DOG]),
        (("--status", "any", "--limit", "1"), [DOG]),
    ],
)
def test_what_is_found(environ: dict[str, str], arguments: tuple[str, ...], found: list[str]) -> None:
    assert tickers(run(environ, *arguments)) == found


def test_more_than_the_limit_are_announced(environ: dict[str, str]) -> None:
    result = run(environ, "--limit", "2")
    assert result.stderr == "2 of 3 markets: --limit shows more\n" and len(tickers(result)) == 2


def test_json_has_every_field(environ: dict[str, str]) -> None:
    result = run(environ, "--series", "KXPET", "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["market_ticker"], second["market_ticker"]) == (DOG, CAT)
    assert (second["yes_bid"], second["volume"]) == ("0.4000", "3.00") and second["close_at"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("zebra",), 1, "no open market with 'zebra' was found; try other words or --status any\n"),
        (("zebra", "--status", "any"), 1, "no market with 'zebra' was found; try other words\n"),
        (("--series", "KXNOT"), 1, "no open market was found; try another --series or --status any\n"),
        (("--event", "KXNOT-1", "--status", "any"), 1, "no market was found; try another --event\n"),
        (("--status", "settled"), 1, "no settled market was found"),
        (("--series", "A B"), 2, "'A B' is not one ticker"),
        (("--env", "demo", "--rest-url", "https://x"), 2, "--env and --rest-url contradict each other"),
        (("--rest-url", "http://exchange.example"), 2, "--rest-url would send the signed headers"),
        (("--ca-file", "/nope"), 2, "the CA file '/nope' cannot be used"),
    ],
)
def test_what_cannot_be(environ: dict[str, str], arguments: tuple[str, ...], code: int, said: str) -> None:
    result = run(environ, *arguments)
    assert result.exit_code == code and said in result.output, result.output
    assert result.stdout == ""


def test_another_exchange_needs_its_rest_url(environ: dict[str, str]) -> None:
    result = run({"KALSHI_URL": "wss://127.0.0.1:1/x", "KALSHI_REST_URL": ""})
    assert result.exit_code == 2 and "KALSHI_REST_URL is not set" in result.output


def test_a_server_with_another_authority(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PATIENCE", 0.0)
    result = run({**environ, "KALSHI_CA_FILE": ""})
    assert result.exit_code == 1 and "its issuer is not known; --ca-file FILE" in result.output
    assert "ssl_context" not in result.output


def test_without_the_extra(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kalshi_feed.rest")
    monkeypatch.setitem(sys.modules, "requests", None)
    result = run(environ)
    assert result.exit_code == 2 and "install kalshi-feed[rest]" in result.output


def test_a_closed_pipe_and_a_process_of_its_own(environ: dict[str, str], tmp_path: Path) -> None:
    found = kalshi_feed("markets", "cat", **environ)
    assert (found.returncode, found.stderr) == (0, "") and found.stdout.splitlines()[1].startswith(CAT)


# -- the table -----------------------------------------------------------------------------------------------


def market(ticker: str, **fields: Any) -> Market:
    return market_in({"ticker": ticker, **fields})


def test_titles_are_cut_to_the_terminal() -> None:
    long = market(
        "KXNFLGAME-25OCT13-SF-KC",
        title="San Francisco at Kansas City winner?",
        yes_sub_title="San Francisco \N{CLINKING BEER MUGS}",
        yes_bid_dollars="0.4650",
        yes_ask_dollars="1.0000",
        volume_fp="12345678.00",
        close_time="2099-01-01T00:00:00Z",
    )
    (head, line) = finding._lines([long], 80)
    assert len(line) <= 80 and line.startswith("KXNFLGAME-25OCT13-SF-KC  San Francisco at ")
    assert "…  0.465    -   12.3M  in " in line
    (head, line) = finding._lines([long], 50)
    assert line.startswith("KXNFLGAME-25OCT13-SF-KC  0.465") and "title" not in head
    (_, line) = finding._lines([long], None)
    assert "San Francisco at Kansas City winner?: San Francisco \N{CLINKING BEER MUGS}" in line


def test_control_characters_do_not_reach_the_terminal() -> None:
    (_, line) = finding._lines([market("A\x1b[2J", title="\x07b")], 80)
    assert "\x1b" not in line and "\x07" not in line


@pytest.mark.parametrize(
    ("seconds", "fields", "said"),
    [
        (90.5, {}, "in 90 s"),
        (15 * 60 + 1, {}, "in 15 min"),
        (3 * 3600 + 1, {}, "in 3 h"),
        (49 * 3600, {}, "in 2 d"),
        (-1, {}, "closed"),
        (-1, {"result": "no"}, "settled no"),
        (900, {"result": "yes"}, "settled yes"),
    ],
)
def test_time_to_close(seconds: float, fields: dict[str, str], said: str) -> None:
    now = datetime.now(timezone.utc)
    close = (now + timedelta(seconds=seconds)).isoformat()
    assert finding._time_left(market("A", close_time=close, **fields), now) == said
