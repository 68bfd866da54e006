"""The run as one picture, with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

OURS, OTHERS = "#1f6f8b", "#b0b7bd"


def draw(report: dict[str, Any], file: Path) -> None:
    """Throughput, markets, latency, other clients."""
    figure, axes = pyplot.subplots(2, 2, figsize=(15, 9), layout="constrained")
    _throughput(axes[0][0], report["throughput"])
    _markets(axes[0][1], report["markets"])
    _latency(axes[1][0], report["latency"])
    _peers(axes[1][1], report["peers"])
    about = report["circumstances"]
    figure.suptitle(
        f"kalshi_feed {about['packages']['kalshi-feed']} on {about['date'][:10]}: {about['machine']}, "
        f"{about['python']}, loopback",
        fontsize=10,
    )
    figure.savefig(file, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


def _throughput(axes: Any, figures: dict[str, Any]) -> None:
    cases = {
        **figures["feed"],
        **{name: one for name, one in figures["extras"].items() if name not in ("floor", "one callback")},
    }
    cases.pop("websocket-client")
    _bars(axes, {name: one["cpu_us"] for name, one in cases.items()}, lambda name: name.startswith("floor"))
    axes.set_title("µs of CPU a message (grey: receive and parse only)", fontsize=10)


def _markets(axes: Any, figures: dict[str, Any]) -> None:
    counts = figures["counts"]
    for prefix, label, colour in (("", "kalshi_feed", OURS), ("floor, ", "receive and parse only", OTHERS)):
        axes.plot(
            counts,
            [1e6 / figures[f"{prefix}{count}"]["us"] for count in counts],
            "o-",
            color=colour,
            label=label,
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_title("deltas a second by number of markets", fontsize=10)
    axes.legend()


def _latency(axes: Any, figures: dict[str, Any]) -> None:
    names = list(figures)
    for key, shade in (("p999", 0.35), ("p99", 0.6), ("p50", 1.0)):
        axes.barh(
            names, [(figures[name][key] or 0) / 1000 for name in names], color=OURS, alpha=shade, label=key
        )
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_title("latency, ms", fontsize=10)
    axes.legend()


def _peers(axes: Any, figures: dict[str, Any]) -> None:
    times = {name: one["cpu_us"] for name, one in figures.items() if name != "missing"}
    _bars(axes, dict(sorted(times.items(), key=lambda item: item[1])), lambda name: name != "kalshi_feed")
    axes.set_title("µs of CPU a delta: other clients, same frames", fontsize=10)


def _bars(axes: Any, values: dict[str, float], is_grey: Any) -> None:
    bars = axes.barh(
        list(values), list(values.values()), color=[OTHERS if is_grey(name) else OURS for name in values]
    )
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.margins(x=0.12)
    axes.invert_yaxis()
