"""The results of a run as one picture, with matplotlib, for readers who know nothing about this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

OURS, OTHERS = "#1f6f8b", "#b0b7bd"

# the cases, by their names in the results, in the reader's words
_THROUGHPUT: Final = {
    "floor": "receive, parse JSON",
    "feed": "one callback",
    "floor, TLS": "receive, parse JSON, TLS",
    "feed, TLS": "one callback, TLS",
    "no callback": "no callback, books only",
    "10 callbacks": "ten callbacks",
    "on_book only": "newest book only",
    "one callback, workers=4": "one callback, 4 threads",
    "floor, mixed": "receive, parse, mixed types",
    "mixed (20 % ticker, 10 % trade)": "one callback, mixed types",
}
_RATES: Final = ("10/s", "1,000/s", "5,000/s", "20,000/s")
_COMPUTES: Final = "callback, 1,000/s, a thread computes"
_TLS_COMPUTES: Final = "callback, 1,000/s, TLS, a thread computes on another core"
_LATENCY: Final = {
    "until your callback runs": {f"callback, {rate}": f"{rate[:-2]} messages/s" for rate in _RATES},
    "until wait_for_update() returns": {
        f"wait_for_update, {rate}": f"{rate[:-2]} messages/s" for rate in _RATES
    },
    "callback at 1,000/s, while …": {
        "callback, 1,000/s, Flask serves": "Flask answers requests",
        _COMPUTES: "another thread computes",
        f"{_COMPUTES}, switch interval 1 ms": "… and may run 1 ms*",
        f"{_COMPUTES}, switch interval 0.2 ms": "… and may run 0.2 ms*",
        f"{_COMPUTES}, switch interval 0.05 ms": "… and may run 0.05 ms*",
        _TLS_COMPUTES: "another computes, with TLS",
        f"{_TLS_COMPUTES}, switch interval 0.5 ms": "… and may run 0.5 ms*",
    },
}
_SWITCH: Final = "* before Python switches threads: sys.setswitchinterval(), by default 5 ms"
_PERCENTILES: Final = (("p999", "p99.9", 0.3), ("p99", "p99", 0.6), ("p50", "p50 (median)", 1.0))


def draw(report: dict[str, Any], file: Path) -> None:
    """Throughput, markets, latency, other clients."""
    with pyplot.rc_context({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = pyplot.subplots(
            2, 2, figsize=(12, 11), layout="constrained", height_ratios=(10, 16), width_ratios=(11, 10)
        )
        _throughput(axes[0][0], report["throughput"])
        _markets(axes[0][1], report["markets"])
        _latency(axes[1][0], report["latency"])
        _peers(axes[1][1], report["peers"])
        about = report["circumstances"]
        figure.suptitle(
            f"kalshi_feed {about['packages']['kalshi-feed']}, {about['date'][:10]}: {about['machine']}, "
            f"{about['python']}, server on the same machine",
            fontsize=11,
            color="#555",
        )
        figure.savefig(file, dpi=100, metadata={"Software": None})
        pyplot.close(figure)


def _throughput(axes: Any, results: dict[str, Any]) -> None:
    cases = results["feed"] | results["extras"]
    times = {words: cases[name]["cpu_us"] for name, words in _THROUGHPUT.items() if name in cases}
    _bars(axes, times, lambda name: name.startswith("receive"))
    axes.set_title("CPU time per message, µs\n(gray: what no client can avoid)")


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
    rows: list[tuple[str, dict[str, Any]]] = []  # a heading is a row without a bar
    for heading, cases in _LATENCY.items():
        axes.text(0.054, len(rows) + 0.1, heading, weight="bold", va="center").set_in_layout(False)
        rows.append(("", {}))
        rows += [(words, results[name]) for name, words in cases.items() if name in results]
    known = {name for cases in _LATENCY.values() for name in cases}
    rows += [(name, one) for name, one in results.items() if name not in known]
    for key, label, shade in _PERCENTILES:
        values = [(one.get(key) or 0) / 1000 for _, one in rows]
        axes.barh(range(len(rows)), values, color=OURS, alpha=shade, label=label)
    axes.set_yticks(range(len(rows)), [words for words, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(0.05, 30)
    ticks = (0.1, 1, 10)
    axes.set_xticks(ticks, [f"{tick} ms" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(_SWITCH, fontsize=10, loc="right")
    axes.set_title("Latency from the exchange's send …")
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.58), frameon=False, reverse=True)


def _peers(axes: Any, results: dict[str, Any]) -> None:
    times = {name: one["cpu_us"] for name, one in results.items() if name != "missing"}
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
