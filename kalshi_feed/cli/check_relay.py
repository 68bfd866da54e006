"""The steps of ``kalshi-feed check`` where KALSHI_RELAY names a relay: Redis, the relay, and a consumer.

Owns these steps and their advice. Main thread only.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import Final

from ..errors import ConfigurationError, KalshiFeedError, RelayError, UnknownMarketError
from ..feed import KalshiFeed
from ..relay.client import RedisClient
from ..relay.environment import NAME_VARIABLE, consumer_arguments, naming_variables, refuse_key, relay_access
from ..relay.layout import DEFAULT_NAME, EntryKind, Keys, keys_of
from ..relay.probe import look_at_stream, may_wish, server_version, wait_for_entry
from .check import NOT_REACHED, Report, Step, stood_still
from .model import counted, level_counts, printable, quote
from .wording import in_own_terms

__all__ = ["RELAY_STEPS", "check_relay"]

RELAY_STEPS: Final = ("relay", "redis", "read", "wish", "writer", "lag", "feed", "snapshot")

_LATE: Final = 0.25  # seconds between an entry's time and its arrival that are worth a warning
_START: Final = "start one where the key is: kalshi-feed relay TICKER --to {url}{named}"
_RIGHTS: Final = "the administrator of Redis gives users their rights (ACL)"


def check_relay(report: Report, market_ticker: str | None, timeout: float) -> None:
    """Run the steps, as far as they go, and add them to ``report``; ``timeout`` in seconds, for each."""
    try:
        refuse_key(os.environ)
        access = relay_access(os.environ)
        assert access is not None
        keys = keys_of(access.name)
        with naming_variables():
            client = RedisClient(
                access.url, password=access.password, ca_file=access.ca_file, timeout=timeout
            )
            feed = KalshiFeed.from_relay(**consumer_arguments(access, {}))
    except ConfigurationError as error:
        _failed(report, "relay", error)
        return
    report.add(Step("relay", "ok", f"{client.redacted}, the relay {access.name!r}"))
    with closing(client):
        began, step = time.monotonic(), "redis"
        try:
            version = server_version(client)
            report.add(Step(step, "ok", f"{version} answers", seconds=time.monotonic() - began))
            step = "read"
            if _sees_writer(report, client, keys, access.name, client.redacted):
                _consumes(report, feed, market_ticker, timeout)
        except RelayError as error:
            _failed(report, step, error, _advice_on(step, error))
        except ValueError as error:
            advice = (
                "something other than a relay writes there: choose another name, and look at Redis's users"
            )
            _failed(report, step, error, (advice,))


def _failed(report: Report, step: str, error: Exception, advice: tuple[str, ...] = ()) -> None:
    text = in_own_terms(error) if isinstance(error, KalshiFeedError) else str(error)
    report.add(Step(step, "failed", printable(text), advice))
    report.end(NOT_REACHED)


def _advice_on(step: str, error: RelayError) -> tuple[str, ...]:
    if step == "read":
        return (f"a consumer must read the relay's keys: {_RIGHTS}",)
    if error.retryable:
        return ("is it running, and is this its address? By hand: redis-cli -u URL ping",)
    return ("user and password: redis://USER@HOST and KALSHI_RELAY_PASSWORD or KALSHI_RELAY_PASSWORD_FILE",)


def _sees_writer(report: Report, client: RedisClient, keys: Keys, name: str, url: str) -> bool:
    """What Redis lets this user do, and who writes. Returns whether a relay writes."""
    began = time.monotonic()
    found = look_at_stream(client, keys)
    report.add(Step("read", "ok", "this user may read the relay's data", seconds=time.monotonic() - began))
    if may_wish(client, keys):
        report.add(Step("wish", "ok", "this user may ask the relay for markets"))
    else:
        text = "this user may not ask the relay for markets: it gets those that the relay has"
        report.add(Step("wish", "warning", text, (f"{_RIGHTS}; from_relay(remote=False) asks for nothing",)))
    named = "" if name == DEFAULT_NAME else f" --name {name}"
    newest, start = found.newest, _START.format(url=url, named=named)
    if newest is None:
        text = f"there is no relay {name!r} in this Redis, and there was none before"
        advice = (start, f"a relay with another --name is read with {NAME_VARIABLE}")
        report.add(Step("writer", "failed", text, advice))
    elif newest.kind is EntryKind.END:
        report.add(Step("writer", "failed", "the relay was closed", (start,)))
    else:
        arrival = wait_for_entry(client, keys, newest.id)
        if arrival is not None:
            behind = "no checkpoint yet" if found.checkpoint is None else "a checkpoint"
            text = f"a relay writes: {found.entries:,} entries, {behind}"
            report.add(Step("writer", "ok", text))
            _lag(report, arrival.after, arrival.entry.late)
            return True
        age = max(0.0, time.time() - newest.ns / 1e9)
        text = f"no relay writes: its last entry is {age:.0f} s old, by this machine's clock"
        report.add(
            Step("writer", "failed", text, ("see what the relay itself says, or start it again", start))
        )
    report.end(NOT_REACHED)
    return False


def _lag(report: Report, after: float, late: float) -> None:
    """``after``: seconds from the relay's clock to ours; ``late``: by how much the relay was behind."""
    if late:
        text = f"the relay is {late:.1f} s behind its own feed"
        report.add(Step("lag", "warning", text, ("Redis or the relay's machine is too slow for it",)))
    elif -1.0 < after < _LATE:
        report.add(Step("lag", "ok", f"an entry is here {max(0.0, after) * 1000:.1f} ms after its time"))
    elif abs(after) >= 1.0:
        side = "ahead of" if after > 0 else "behind"
        text = f"this machine's clock is {abs(after):.1f} s {side} the relay's, or entries are that late"
        report.add(
            Step("lag", "warning", text, ("feeds do not mind a clock that is off; your own code may",))
        )
    else:
        text = f"an entry is here {after * 1000:.0f} ms after its time"
        report.add(Step("lag", "warning", text, ("the network or Redis is slow, or a clock is off",)))


def _consumes(report: Report, feed: KalshiFeed, market_ticker: str | None, timeout: float) -> None:
    """The last two steps, with a feed as any program would use it."""
    step, began = "feed", time.monotonic()
    try:
        with feed:
            feed.wait_until_connected(timeout)
            took = time.monotonic() - began
            live = sum(book.is_live for book in feed.books.values())
            text = (
                f"the relay is connected to the exchange, {live} of {counted(len(feed.books), 'book')} LIVE"
            )
            report.add(Step(step, "ok", text, seconds=took))
            if market_ticker is None:
                report.add(Step("snapshot", "skipped", "name a TICKER to see whether its book arrives"))
                return
            step, began = "snapshot", time.monotonic()
            view = feed.wait_for_book(market_ticker, timeout).view()
            levels = level_counts(len(view.bids("yes")), len(view.bids("no")))
            text = f"{levels}, yes {quote(view.best_bid(), view.best_ask())}"
            report.add(
                stood_still(Step(step, "ok", text, seconds=time.monotonic() - began), feed.stats().stalls)
            )
    except UnknownMarketError as error:
        text = f"the exchange does not know the market {error.market_ticker}: its snapshot is empty"
        _failed(report, step, ValueError(text), error.advice)
    except KalshiFeedError as error:
        _failed(report, step, error)
