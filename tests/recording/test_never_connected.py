"""A feed that never connects leaves no empty recording behind, which would block the next attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from kalshi_feed import AuthenticationError, Credentials, FeedState, ReconnectPolicy
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, FeedMaker
from tests.support import wait_until


@pytest.mark.parametrize("first", ["record", "start"])
def test_a_key_that_is_refused(first: str, exchange: Exchange, make_feed: FeedMaker, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    stranger = Credentials.from_pem("somebody", exchange.private_key_pem)
    feed = make_feed(credentials=stranger)
    if first == "start":
        exchange.reject_next(1, 503)
        feed = make_feed(credentials=stranger, reconnect=ReconnectPolicy(initial_delay=1, max_delay=1))
        feed.start()
        wait_until(lambda: feed.state is FeedState.RECONNECTING, 10)
    feed.record(path)
    assert path.exists()
    with pytest.raises(AuthenticationError):
        feed.run_forever()
    feed.close()
    assert not path.exists()
    again = make_feed()
    recording = again.record(path)
    again.start().wait_for_book(A, 10)
    again.close()
    assert path.exists() and recording.messages > 0


def test_a_connection_is_enough_and_parts_are_removed_together(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path
) -> None:
    feed = make_feed()
    recording = feed.record(tmp_path / "quiet.ndjson")
    feed.start().wait_until_connected(10)
    feed.close()
    assert (
        recording.paths == (tmp_path / "quiet.ndjson",)
        and recording.path.exists()
        and recording.messages == 0
    )
    exchange.close()
    feed = make_feed()
    recording = feed.record(tmp_path / "parts.ndjson", rotate_seconds=0.1)
    feed.start()
    wait_until(lambda: len(recording.paths) > 1, 10, "a second part")
    feed.close()
    assert recording.paths == ()
    assert [file.name for file in tmp_path.iterdir()] == ["quiet.ndjson"]
