"""What a feed costs when idle, with many books, and when its books are read."""

from __future__ import annotations

from tests.benchmarks.frames import prices_of
from tests.benchmarks.rounds import Figures, Scale, say
from tests.benchmarks.spawn import Bench
from tests.benchmarks.tables import number, table

REST_RATE = 10


def run(scale: Scale) -> Figures:
    """Measure a feed at rest, with many books, and while a book is read."""
    with Bench() as bench:
        seconds = 2 * scale.seconds
        want = int(REST_RATE * seconds)
        say("at rest")
        url = bench.server(markets=20, deltas=want, rate=REST_RATE, pause=0.5)
        rest = min(
            (bench.client("rest", url, markets=20, want=want, seconds=seconds) for _ in range(4)),
            key=_core_percent,
        )
        growth = []
        for levels in (100, 20, 102):
            say(f"{scale.books} books of {levels} levels")
            # a new server for each: a server ends only its first connection
            runs = []
            for copy in range(3):
                url = bench.server(markets=scale.books, levels=levels, cut=0.5 + copy / 100)
                runs.append(bench.client("growth", url, markets=scale.books))
            best = {key: min(one[key] for one in runs) for key in runs[0]}
            growth.append({"books": scale.books, "levels": levels, **best})
        say("reading")
        reading = bench.client("reading", bench.server(markets=1, levels=100), markets=1)
    say("")
    return {"rest": rest, "growth": growth, "reading": reading}


def _core_percent(figures: Figures) -> float:
    percent: float = figures["core_percent"]
    return percent


def text(figures: Figures) -> str:
    """The tables of these results."""
    rest, reading = figures["rest"], figures["reading"]
    growth = [
        (
            f"{one['books']:,} × {one['levels']} levels, {prices_of(one['levels'])}",
            number(one["live_seconds"]),
            number(one["live_again_seconds"]),
            number(one["megabytes"]),
            number(one["megabytes"] * 1000 / one["books"]),
            number(one["megabytes_after_reconnect"]),
        )
        for one in figures["growth"]
    ]
    questions = [(name, number(value)) for name, value in reading.items() if name != "levels"]
    return (
        f"### At rest\n\n{REST_RATE} messages a second take {rest['core_percent']:.2f} % of a core.\n\n"
        f"### Many books\n\n"
        + table(
            (
                "",
                "s until LIVE",
                "s after a reconnect",
                "MB over the empty feed",
                "kB a book",
                "MB after a reconnect",
            ),
            growth,
        )
        + f"\n### Reading a book of {reading['levels']:.0f} levels in a callback\n\n"
        + table(("question", "µs"), questions)
    )
