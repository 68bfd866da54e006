"""The session's deadlines, in seconds. Owns Timing. Thread-safe: immutable."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True)
class Timing:
    """How long the session waits for each thing, in seconds. Tests scale it; users need not know it."""

    ack: float = 10.0  # for a command's answer; it is sent once more, then the connection is replaced
    snapshot: float = 10.0  # for a snapshot promised or requested; each one that comes extends it
    large_message: float = 1.0  # a message that takes longer to arrive holds up the answers behind it
    gap_merge: float = 0.02  # gaps this close together share one repair
    failed_repairs_window: float = 60.0  # three failed repairs within this time lead to a reconnect
    mute_market: float = 60.0  # between two requests for a market that never answers
    # between the parts of a change or a request that does not fit into one command; the exchange takes
    # 10,000 commands a second (PROTOCOL.md 5.7)
    pace: float = 0.001
    contradiction: float = 5.0  # a contradicted or crossed book means something if it lasts this long
    recheck: float = 60.0  # between two requests for the same suspected market
    ask_unknown: float = 60.0  # before the first repeated request for a market unknown to the exchange
    ask_unknown_max: float = 600.0  # that delay doubles, up to this
    ask_unknown_pace: float = 1.0  # at least, between two requests for one such market
    bad_frames_window: float = 60.0
    bad_frames: int = 10  # more unreadable frames than this within the window: the connection is replaced
    retry_initial: float = 0.5  # before a subscription that died is made again; doubles with each failure
    retry_max: float = 30.0  # up to this
    healthy: float = 30.0  # a session that lasted this long was healthy
    healthy_live: float = 5.0  # or this long, with every wanted book LIVE at its end
    faults_a_second: int = 100  # faults beyond this are counted, but not reported one by one
