"""The results of a run as one picture, with matplotlib, for readers who know nothing about this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from tests.benchmarks.peers import SEEN

OURS, OTHERS = "#1f6f8b", "#b0b7bd"

# the cases, by their names in the results, in the reader's words; short ones, or the bars have no room
_THROUGHPUT: Final = {
    "order book changes": {
        "floor": "receive, parse",
        "feed": "one callback",
        "10 callbacks": "ten callbacks",
        "no callback": "only the books",
        "on_book only": "newest book",
        "one callback, workers=4": "four threads",
    },
    "the same over TLS": {
        "floor, TLS": "receive, parse",
        "feed, TLS": "one callback",
    },
    "tickers": {
        "floor, tickers": "receive, parse",
        "feed, tickers": "one callback",
    },
    "trades": {
        "floor, trades": "receive, parse",
        "feed, trades": "one callback",
    },
}
_RATES: Final = ("10/s", "1,000/s", "5,000/s", "20,000/s")
_COMPUTES: Final = "callback, 1,000/s, a thread computes"
_TLS_COMPUTES: Final = "callback, 1,000/s, TLS, a thread computes"
_LATENCY: Final = {
    "until your callback runs (messages per second)": {f"callback, {rate}": rate for rate in _RATES},
    "until wait_for_update() returns": {f"wait_for_update, {rate}": rate for rate in _RATES},
    "callback at 1,000/s while Flask answers requests": {"callback, 1,000/s, Flask serves": "1,000/s"},
    "callback at 1,000/s while a thread computes*": {
        _COMPUTES: "5 ms*",
        f"{_COMPUTES}, switch interval 0.2 ms": "0.2 ms*",
        f"{_COMPUTES}, switch interval 0.05 ms": "0.05 ms*",
    },
    "the same over TLS*": {
        _TLS_COMPUTES: "5 ms*",
        f"{_TLS_COMPUTES}, switch interval 0.5 ms": "0.5 ms*",
    },
}
_SWITCH: Final = (
    "* how long the other thread may run before Python switches:\nsys.setswitchinterval(), by default 5 ms"
)
_PERCENTILES: Final = (("p999", "p99.9", 0.3), ("p99", "p99", 0.6), ("p50", "p50 (median)", 1.0))


def draw(report: dict[str, Any], file: Path) -> list[Any]:
    """Throughput, markets, latency, other clients. Returns their axes, in this order."""
    with pyplot.rc_context({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = pyplot.subplots(
            2, 2, figsize=(12, 11), layout="constrained", height_ratios=(10, 16), width_ratios=(11, 10)
        )
        _throughput(axes[0][0], report["throughput"])
        _markets(axes[0][1], report["markets"])
        _latency(axes[1][0], report["latency"])
        _peers(axes[1][1], report["peers"][SEEN])
        about = report["circumstances"]
        figure.suptitle(
            f"kalshi_feed {about['packages']['kalshi-feed']}, {about['date'][:10]}: {about['machine']}, "
            f"{about['python']}, server on the same machine",
            fontsize=11,
            color="#555",
        )
        figure.savefig(file, dpi=100, metadata={"Software": None})
        pyplot.close(figure)
    return [*axes.flat]


def _throughput(axes: Any, results: dict[str, Any]) -> None:
    cases = results["feed"] | results["extras"]
    rows = _rows(axes, _THROUGHPUT, cases, 0.02)
    times = [one.get("cpu_us", 0.0) for _, one in rows]
    colors = [OTHERS if words.startswith("receive") else OURS for words, _ in rows]
    bars = axes.barh(range(len(rows)), times, color=colors)
    axes.bar_label(bars, [f"{time:.1f}" if time else "" for time in times], padding=3)
    axes.margins(x=0.12)
    axes.set_xticks([])  # each bar has its number
    axes.spines["bottom"].set_visible(False)
    axes.set_title("CPU time per message, µs\n(gray: what no client can avoid)")


def _rows(
    axes: Any, groups: dict[str, dict[str, str]], results: dict[str, Any], left: float
) -> list[tuple[str, dict[str, Any]]]:
    """(label, result) of each row, from the top. A group's heading, ``left`` in the panel, is a row without a
    bar."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for heading, cases in groups.items():
        axes.text(
            left, len(rows) + 0.1, heading, weight="bold", va="center", transform=axes.get_yaxis_transform()
        ).set_in_layout(False)
        rows.append(("", {}))
        rows += [(words, results[name]) for name, words in cases.items() if name in results]
    axes.set_yticks(range(len(rows)), [words for words, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return rows


def _markets(axes: Any, results: dict[str, Any]) -> None:
    counts = results["counts"]
    for prefix, label, color in (
        ("floor, ", "receive, parse JSON", OTHERS),
        ("", "kalshi_feed", OURS),
    ):
        rates = [1 / results[f"{prefix}{count}"]["us"] for count in counts]
        axes.plot(counts, rates, "o-", color=color, label=label)
        for count, rate in zip(counts, rates, strict=True):
            axes.annotate(f"{rate:.2f}", (count, rate), (0, 9), textcoords="offset points", ha="center")
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_ylim(0, 1)
    axes.set_xlim(0.5, 20_000)
    axes.set_xlabel("number of markets")
    axes.set_title("Millions of order book changes\nper second, one callback")
    axes.legend(loc="lower left", frameon=False)


def _latency(axes: Any, results: dict[str, Any]) -> None:
    rows = _rows(axes, _LATENCY, results, 0.012)
    for key, label, shade in _PERCENTILES:
        values = [(one.get(key) or 0) / 1000 for _, one in rows]
        axes.barh(range(len(rows)), values, color=OURS, alpha=shade, label=label)
    axes.set_xscale("log")
    axes.set_xlim(0.05, 30)
    ticks = (0.1, 1, 10)
    axes.set_xticks(ticks, [f"{tick} ms" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(_SWITCH, fontsize=10, loc="right")
    axes.set_title("Latency from the exchange's send …")
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.58), frameon=False, reverse=True)


def _peers(axes: Any, results: dict[str, Any]) -> None:
    times = {name: one["cpu_us"] for name, one in results.items()}
    times["receive,\nparse JSON"] = times.pop("floor")
    times = {name.replace("-ws-", "-\nws-"): time for name, time in times.items()}
    _bars(axes, dict(sorted(times.items(), key=lambda item: item[1])), lambda name: name != "kalshi_feed")
    axes.set_title("Other clients on the same data:\nCPU time per change, µs")


def _bars(axes: Any, values: dict[str, float], is_gray: Any) -> None:
    bars = axes.barh(
        list(values), list(values.values()), color=[OTHERS if is_gray(name) else OURS for name in values]
    )
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.margins(x=0.12)
    axes.set_xticks([])  # each bar has its number
    axes.spines["bottom"].set_visible(False)
    axes.invert_yaxis()
