"""The results of a run, as a table and as one line of JSON."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kalshi_feed.simulator import Exchange
from tests.faults.oracle import Oracle
from tests.support import open_descriptors

if TYPE_CHECKING:
    from tests.soak.line import Line
    from tests.soak.soak import Outcome

__all__ = ["Process", "growth", "last_line", "report", "resident_mb", "table"]

MB = 1024 * 1024
WARM_UP = 0.4  # the share of the notes that counts as warm-up; the rest must be flat


class Process:
    """What the process holds, noted now and then: (seconds, MB resident, threads, descriptors)."""

    def __init__(self) -> None:
        self.notes: list[tuple[float, float, int, int]] = []

    def note(self, now: float) -> None:
        """Take a note now."""
        self.notes.append((now, resident_mb(), threading.active_count(), len(open_descriptors())))

    def __str__(self) -> str:
        if not self.notes:
            return "nothing noted"
        _, resident, threads, descriptors = self.notes[-1]
        return f"{resident:.0f} MB, {threads} threads, {descriptors} descriptors"

    def slope(self) -> float | None:
        """How fast memory grew after the warm-up, in MB per minute, see growth(); None if there are too few
        notes."""
        notes = self.notes[int(len(self.notes) * WARM_UP) :]
        if len(notes) < 4:
            return None
        return growth([(at / 60, resident) for at, resident, _, _ in notes])

    def figures(self) -> dict[str, Any]:
        """Return the results for the last line."""
        warm = self.notes[int(len(self.notes) * WARM_UP) :] or self.notes
        slope = self.slope()
        return {
            "rss_mb_warm": round(warm[0][1]) if warm else None,
            "rss_mb_end": round(warm[-1][1]) if warm else None,
            "rss_mb_per_minute": None if slope is None else round(slope, 2),
            "most_threads": max((note[2] for note in self.notes), default=0),
            "most_descriptors": max((note[3] for note in self.notes), default=0),
        }


def resident_mb(pid: int | str = "self") -> float:
    """How much memory a process has, in MB; 0.0 without /proc, or if it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB
    except OSError:
        return 0.0


def growth(points: Sequence[tuple[float, float]]) -> float:
    """How fast the second number of the points grows with the first, apart from one step.

    A queue that fills for the first time keeps its memory: a step between two flat stretches, which is not a
    leak. So the points are cut in two where that explains them best, and the slope (least squares) is the one
    that both parts share, each at its own level. A leak shows in the parts, and so does a staircase. At least
    four points, ordered, with different first numbers.
    """

    def fit(cut: int) -> tuple[float, float]:
        """What two parallel lines leave unexplained, and their slope."""
        away = [
            (at - sum(x for x, _ in part) / len(part), value - sum(y for _, y in part) / len(part))
            for part in (points[:cut], points[cut:])
            for at, value in part
        ]
        slope = sum(x * y for x, y in away) / sum(x * x for x, _ in away)
        return sum((y - slope * x) ** 2 for x, y in away), slope

    return min(fit(cut) for cut in range(1, len(points)))[1]


def report(
    outcome: Outcome, exchange: Exchange, oracle: Oracle, lines: list[Line], longest_stale: float
) -> None:
    """Record the results while the feeds still exist."""
    stats = [line.feed.stats() for line in lines]
    looks = [look for line in lines for look in line.looks]
    announced: Counter[str] = Counter()
    for line in lines:
        announced.update(line.ledger.announced)
    outcome.figures |= {
        "wrong_live_books": sum(look.wrong.count for look in looks),
        "unannounced_losses": sum(line.ledger.unannounced.count for line in lines),
        "wrong_deliveries": sum(line.ledger.wrong.count for line in lines),
        "books_not_live_at_end": len(outcome.not_live),
        "faults": outcome.faults.total(),
        "reconnects": sum(one.reconnects for one in stats),
        "gaps": sum(one.gaps for one in stats),
        "resyncs": sum(one.resyncs for one in stats),
        "longest_stale_seconds": round(longest_stale, 2),
        "changes": oracle.changes,
        "deltas_delivered": sum(line.ledger.deltas for line in lines),
        "snapshots_delivered": sum(line.ledger.snapshots for line in lines),
        "live_views_checked": sum(look.checked for look in looks),
        "waits_for_update": sum(line.updates for line in lines),
        "losses_announced": dict(announced),
        "frames_lost": exchange.lost,
        "dropped_by_overflow": sum(one.dropped for one in stats),
        "callbacks_that_raised": sum(line.raised for line in lines),
        **outcome.process.figures(),
    }
    for line in lines:
        outcome.findings += line.findings()
    outcome.findings += [f"not LIVE at the end: {text}" for text in outcome.not_live]


def table(outcome: Outcome) -> str:
    """Return the table, for people."""
    rows = [
        f"{kind:28}{count:8}" for kind, count in sorted(outcome.faults.items(), key=lambda item: -item[1])
    ]
    rows += ["", *(f"{name.replace('_', ' '):28}{value!s:>8}" for name, value in outcome.figures.items())]
    return "\n".join(["", f"seed {outcome.seed}, {outcome.seconds:.0f} s", "", *rows, "", *outcome.findings])


def last_line(outcome: Outcome) -> str:
    """Return the line of JSON, for programs. A run that ended early has not proved its zeros."""
    figures = {"wrong_live_books": None, "unannounced_losses": None} | outcome.figures
    return json.dumps({"ok": outcome.is_good, "seed": outcome.seed, "seconds": outcome.seconds, **figures})
