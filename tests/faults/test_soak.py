"""A few seconds of the chaos soak (tests/soak), so that every run of the tests has some; and the soak finds
what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice, pairwise
from typing import Any

import pytest

from kalshi_feed.books.book import Book
from kalshi_feed.session.session import Session
from tests.soak.relay.schedule import ALONE, TWO_AT_ONCE, WITH_STANDBY, episodes
from tests.soak.report import last_line
from tests.soak.schedule import EXCHANGE, NETWORK, USER, schedule
from tests.soak.soak import Soak

pytestmark = pytest.mark.slow


def test_a_few_seconds_of_everything() -> None:
    outcome = Soak(seed=20, seconds=6.0).run()
    figures = json.loads(last_line(outcome))
    assert outcome.is_good, outcome.findings[:20]
    assert figures["wrong_live_books"] == figures["unannounced_losses"] == figures["wrong_deliveries"] == 0
    assert figures["faults"] > 10
    assert figures["reconnects"] > 0
    assert figures["deltas_delivered"] > 1_000
    assert figures["live_views_checked"] > 1_000


def test_a_schedule_is_the_seeds_and_knows_every_kind() -> None:
    strikes = schedule(5, 3600.0, 3)
    assert strikes == schedule(5, 3600.0, 3) != schedule(6, 3600.0, 3)
    assert {strike.kind for strike in strikes} == {*NETWORK, *EXCHANGE, *USER}
    for line in range(-1, 3):
        times = [strike.at for strike in strikes if strike.line == line and strike.kind not in USER]
        assert all(1.0 <= later - sooner <= 3.0 for sooner, later in pairwise(times))


@pytest.mark.parametrize("kinds", [ALONE, WITH_STANDBY])
def test_episodes_of_a_relay_are_the_seeds_and_know_every_kind(kinds: dict[str, tuple[float, float]]) -> None:
    some = list(islice(episodes(5, kinds), 200))
    assert some == list(islice(episodes(5, kinds), 200)) != list(islice(episodes(6, kinds), 200))
    alone = [episode.kind for episode in some if episode.kind != TWO_AT_ONCE]
    assert set(alone[: len(kinds)]) == set(kinds)
    assert len(alone) < len(some)


def _loses_one_delta_in_200(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap goes unnoticed."""
    real, count = Session.receive, iter(range(10**9))

    def receive(self: Session, payloads: Any, now: float) -> None:
        real(
            self,
            [payload for payload in payloads if b"orderbook_delta" not in payload or next(count) % 200],
            now,
        )

    monkeypatch.setattr(Session, "receive", receive)
    monkeypatch.setattr(
        Session,
        "_in_sequence",
        lambda self, subscription, seq, now: bool(setattr(subscription, "next_seq", seq + 1)) or True,
    )


def _applies_nothing_at_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta is delivered, but missing in the book."""
    real, count = Book.apply, iter(range(10**9))

    def apply(self: Book, *args: Any) -> Any:
        return real(self, *args) if next(count) % 500 else self

    monkeypatch.setattr(Book, "apply", apply)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "found"),
    [(_loses_one_delta_in_200, "unannounced_losses"), (_applies_nothing_at_times, "wrong_live_books")],
)
def test_it_finds_what_is_wrong(
    break_it: Callable[[pytest.MonkeyPatch], None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storm = Soak._storm

    def broken(self: Soak, *args: Any) -> None:  # no sooner: it begins when all books are LIVE
        break_it(monkeypatch)
        storm(self, *args)

    monkeypatch.setattr(Soak, "_storm", broken)
    outcome = Soak(seed=20, seconds=1.0, promised=1.0).run()
    assert json.loads(last_line(outcome))[found] > 0
    assert not outcome.is_good
