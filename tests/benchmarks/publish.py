"""What is kept of a run: results/latest.json, results/latest.png, and the tables of the two READMEs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.benchmarks import relay
from tests.benchmarks.frames import prices_of
from tests.benchmarks.markets import FINE
from tests.benchmarks.spawn import TOP
from tests.benchmarks.tables import number, table

README = TOP / "README.md"  # a few rows
PAGE = Path(__file__).with_name("README.md")  # all of them
RESULTS = Path(__file__).parent / "results"
FIGURES = RESULTS / "latest.json"
FRAMES = {  # the cases of the throughput section, in the reader's words
    "feed": "deltas",
    "feed, TLS": "deltas, over TLS,",
    "feed, captured": "deltas of the exchange itself, captured in August 2026,",
    "feed, new sizes": "deltas of sizes never seen before",
    "feed, new sizes, TLS": "deltas of sizes never seen before, over TLS,",
    "feed, tickers": "tickers",
    "feed, trades": "trades",
}
_HEAD = "<!-- made by: python -m tests.benchmarks --publish -->\n"
_PLACE = re.compile(re.escape(_HEAD) + r".*?(?=\n## |\Z)", re.DOTALL)


def publish(report: dict[str, Any]) -> None:
    """Keep it all."""
    from tests.benchmarks import plot

    RESULTS.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(report, indent=1) + "\n")
    plot.draw(report, RESULTS / "latest.png")
    for page in (README, PAGE):
        page.write_text(written(page, report), encoding="utf-8")


def written(page: Path, report: dict[str, Any]) -> str:
    """The page's text with its table as it must be."""
    text, made = page.read_text(encoding="utf-8"), summary(report) if page == README else section(report)
    assert _PLACE.search(text), f"{page} has no place for the benchmarks"
    return _PLACE.sub(lambda _: _HEAD + "\n" + made, text)


def summary(report: dict[str, Any]) -> str:
    """A few rows for the project's README."""
    feed, latency = report["throughput"]["feed"], report["latency"]["callback, 1,000/s"]
    most = max(report["cost"]["growth"], key=lambda one: (one["books"], one["levels"] == 100))
    kinds = (
        ("feed", "deltas a second: decoded, checked, in the books, in one callback"),
        ("feed, TLS", "the same over TLS"),
    )
    rows = (
        *((what, f"{1e6 / feed[name]['us']:,.0f}") for name, what in kinds),
        (
            "from the server's send to the callback, at 1,000 messages a second",
            f"p50 {number(latency['p50'])} µs, p99 {number(latency['p99'])} µs",
        ),
        (
            f"memory of {most['books']:,} books of {most['levels']} levels at {prices_of(most['levels'])}",
            f"{most['megabytes']:.0f} MB",
        ),
    )
    return table(("", "measured"), rows)


def section(report: dict[str, Any]) -> str:
    """The table and where it was measured."""
    about = report["circumstances"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    loads = f"{about['load_before'][0]:.1f} before and {about['load_after'][0]:.1f} after"
    # the run itself keeps two processes going, so only the load before tells
    is_busy = about["load_before"][0] > 1
    warning = (
        "; other work ran beside it, so the times are rough and only the ratios of CPU hold"
        if is_busy
        else ""
    )
    return (
        table(("", "measured"), _rows(report))
        + f"\n{about['date'][:10]}, {about['machine']}, {about['python']}, {about['openssl']}, {packages}; "
        + f"load average {loads}{warning}.\n"
        + "\n![throughput, latency, markets and other clients](results/latest.png)\n"
    )


def _speed(one: dict[str, Any]) -> str:
    """Unbound, in the quickest round and in the median; CPU; and bound."""
    return (
        f"{1e6 / one['us']:,.0f}; {number(one['us'])} µs each, {number(one['ratio'])} × the floor "
        f"(median of the rounds {number(one['ratio_median'])} ×); CPU {number(one['cpu_us'])} µs, "
        f"{number(one['cpu_ratio'])} × (median {number(one['cpu_ratio_median'])} ×); "
        f"bound {number(one.get('bound', {}).get('ratio'))} ×"
    )


def _rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    feed, markets, latency, cost = (report[key] for key in ("throughput", "markets", "latency", "cost"))
    rows = []
    for name, what in FRAMES.items():
        if (one := feed["feed"].get(name)) is not None:
            rows.append((f"{what} a second: decoded, checked, in the books, in one callback", _speed(one)))
    rows += [(f"{name} frames", f"left out: {why}") for name, why in feed["left_out"].items()]
    plain = feed["feed"]["websocket-client"]
    rows.append(
        (
            "the same frames with websocket-client's `recv` and `json.loads` only",
            f"{number(plain['us'])} µs each",
        )
    )
    most = markets["counts"][-1]
    rows.append(
        (
            f"with {most:,} markets instead of 100",
            f"{100 * markets['100']['us'] / markets[str(most)]['us']:.0f} % of the deltas a second "
            f"(at finer prices than cents {100 * markets['100']['us'] / markets[FINE]['us']:.0f} %); "
            f"{number(markets[f'{most}, at once']['whole_ratio'])} × the floor with all snapshots",
        )
    )
    for name, one in latency.items():
        if one["rate"] > 10:
            p999 = f", p99.9 {number(one['p999'])}" if one["p999"] else ""
            rows.append(
                (
                    f"latency, {name}",
                    f"p50 {number(one['p50'])} µs, p99 {number(one['p99'])}{p999}, max {number(one['max'])}",
                )
            )
    for one in cost["growth"]:
        rows.append(
            (
                f"{one['books']:,} books of {one['levels']} levels at {prices_of(one['levels'])}",
                f"{one['megabytes']:.0f} MB; LIVE {number(one['live_seconds'])} s after the subscribe, "
                f"{number(one['live_again_seconds'])} s after a reconnect",
            )
        )
    rows.append(("10 messages a second", f"{cost['rest']['core_percent']:.2f} % of a core"))
    reading = cost["reading"]
    rows.append(
        (
            f"reading a book of {reading['levels']:.0f} levels in a callback",
            f"`best_bid()` {number(reading['best_bid()'])} µs, `view()` {number(reading['view()'])} µs",
        )
    )
    rows += relay.rows(report.get("relay", {"missing": "it was measured before there were relays"}))
    peers = report["peers"]
    for kind, found in peers.items():
        for name, one in found.items() if kind != "missing" else ():
            if name not in ("floor", "kalshi_feed"):
                rows.append(
                    (
                        f"{name}, {kind}",
                        f"{number(one['us'])} µs a delta, {number(one['ratio'])} × kalshi_feed's; "
                        f"CPU {number(one['cpu_us'])} µs, {number(one['cpu_ratio'])} ×",
                    )
                )
    # why is in the results: it may be the benchmark's own fault
    rows += [(name, "no result in this run") for name in peers["missing"]]
    return rows
