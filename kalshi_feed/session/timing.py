"""The session's deadlines, in seconds. Owns Timing; must not import anything of the package. Thread-safe:
immutable."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True)
class Timing:
    """How long the session waits for what. Tests scale it; users need not know it."""

    ack: float = 10.0  # a command's answer; asked once more, then the connection is given up
    snapshot: float = 10.0  # a snapshot that was promised or asked for; any other one that comes prolongs it
    large_message: float = 1.0  # what takes longer than this to arrive holds up the answers behind it
    gap_merge: float = 0.02  # gaps this close together are repaired by one round
    failed_repairs_window: float = 60.0  # three failed repairs within it lead to a reconnect
    mute_market: float = 60.0  # between two requests for a market that answers none
    pace: float = 0.02  # between the parts of a change or a request that does not fit into one command
    contradiction: float = (
        5.0  # tickers that deny a book, or a crossed book, mean something if they do for so long
    )
    recheck: float = 60.0  # between two requests for a market that is doubted
    ask_unknown: float = 60.0  # until a market that the exchange does not know is asked for again, at first
    ask_unknown_max: float = 600.0  # doubling up to this
    ask_unknown_pace: float = 1.0  # between two requests for one such market, whatever is said of it
    bad_frames_window: float = 60.0
    bad_frames: int = 10  # more unreadable frames than this within the window: the connection is given up
    retry_initial: float = 0.5  # a subscription that died is asked for again, at first after this
    retry_max: float = 30.0
    healthy: float = 30.0  # a session that lasted this long was a good one
    healthy_live: float = 5.0  # or this long, with every wanted book LIVE at its end
    faults_a_second: int = 100  # more faults than this are counted, but not each is told
