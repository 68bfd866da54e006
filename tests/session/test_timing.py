"""The deadlines that users can rely on."""

from __future__ import annotations

from kalshi_feed.session.timing import Timing


def test_defaults_of_the_design() -> None:
    timing = Timing()
    assert (timing.gap_merge, timing.failed_repairs_window) == (0.02, 60.0)
    assert (timing.healthy, timing.healthy_live) == (30.0, 5.0)
    assert (timing.bad_frames, timing.bad_frames_window) == (10, 60.0)
