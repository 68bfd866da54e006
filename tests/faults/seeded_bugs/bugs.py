"""The bugs: which text is replaced in which file, and which tests must then fail.

``old`` must appear in the file exactly once. When the code has changed, renew the seed: the same mistake, in
the new text.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["BUGS", "QUICK", "Bug"]

BOOK: Final = "tests/faults/test_book_model.py"
LEVELS: Final = "tests/books/test_levels.py"
SESSION: Final = "tests/session/test_machine.py"
DISPATCH: Final = "tests/faults/test_dispatch_machine.py"
CHUNKS: Final = "tests/faults/test_chunking.py"
DEFLATE: Final = "tests/connection/test_deflate.py"
MEMORY: Final = "tests/session/test_memory.py"
REPLAY: Final = "tests/recording/test_time_machine.py::test_R24_every_book_is_as_it_was_at_the_message"
ROSTER: Final = "tests/following/test_roster.py"
FILLING: Final = "tests/filling/test_filling.py::"
RELAY: Final = "tests/relay/"
FOLLOW: Final = "tests/following/test_follow.py::test_"
INTERRUPTED: Final = (
    "tests/faults/test_interrupts.py::test_R28_an_interrupted_call_has_happened_or_not[subscribe-17]"
)
ON_TOP: Final = (
    "tests/faults/test_interrupts.py::test_R27_a_finalizer_on_the_reader_is_put_off_to_the_next_tick"
)


class Bug(NamedTuple):
    """One bug. ``file`` is relative to kalshi_feed/; ``tests`` are the arguments for pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: str


BUGS: Final = (
    # the book
    Bug(
        "zero level kept",
        "books/book.py",
        "                fine.pop(price, None)",
        "                fine[price] = 0",
        BOOK,
    ),
    Bug(
        "negative size clamped to nothing",
        "books/book.py",
        "            if not 0 <= left < MOST:\n                self._refuse(side, price, size)\n            "
        "cents[slot] = left",
        "            cents[slot] = max(left, 0)",
        BOOK,
    ),
    Bug(
        "snapshot merged into the old book",
        "books/book.py",
        "        self.put(yes, no)\n",
        "        self.put({**self.yes, **yes}, no)\n",
        BOOK,
    ),
    Bug(
        "no-side price of a delta not flipped",
        "messages/books.py",
        'if self.use_yes_price and body.side == "no":',
        'if self.use_yes_price and body.side == "yes" and size < 0:',
        BOOK,
    ),
    Bug(
        "no-side prices of a snapshot not flipped",
        "messages/books.py",
        "prices = [OTHER_SIDE[price] for price in prices]",
        "prices = list(prices)",
        BOOK,
    ),
    Bug(
        "underscore accepted in a number",
        "messages/values.py",
        'r"(-?)([0-9]+)(?:\\.([0-9]{1,2}))?"',
        'r"(-?)([0-9_]+)(?:\\.([0-9]{1,2}))?"',
        BOOK,
    ),
    Bug(
        "NaN accepted as a price",
        "messages/values.py",
        " if match else ONE_DOLLAR + 1\n",
        ' if match else ONE_DOLLAR + (text != "NaN")\n',
        BOOK,
    ),
    Bug(
        "notify forgotten",
        "books/store.py",
        "        for waiter in ready:\n",
        "        for waiter in ready[1:]:\n",
        BOOK,
    ),
    Bug(
        "cost of buying read from the bids",
        "books/book.py",
        "for price, size in _top(_bids(self._levels, _other(side)), None)]",
        "for price, size in _top(_bids(self._levels, side), None)]",
        BOOK,
    ),
    Bug(
        "a view shows changes made later",
        "books/levels.py",
        "        copy.cents = self.cents[:]",
        "        copy.cents = self.cents",
        LEVELS,
    ),
    Bug(
        "prices between the cents are never the best",
        "books/levels.py",
        "    if fine:\n        finest",
        "    if not fine:\n        finest",
        LEVELS,
    ),
    Bug(
        "the last cent of one side is the first of the other",
        "books/levels.py",
        "tuple(slot + _CENTS if",
        "tuple(slot + _CENTS - 1 if",
        LEVELS,
    ),
    # the session
    Bug(
        "gap applied",
        "session/session.py",
        '            self.repair.gap(subscription, expected, seq, "sequence gap", now)\n',
        "",
        SESSION,
    ),
    Bug(
        "only one ticker stale",
        "session/repair.py",
        "            self.mark_stale(tickers)\n        self._output.counts.gaps",
        "            self.mark_stale(tickers[:1])\n        self._output.counts.gaps",
        SESSION,
    ),
    Bug(
        "off by one on a reply's seq",
        "session/session.py",
        "if message.seq + 1 == subscription.next_seq:",
        "if message.seq == subscription.next_seq:",
        "tests/session/test_session.py",
    ),
    Bug(
        "duplicate applied",
        "session/session.py",
        '            self.output.counts.ignored["duplicate"] += 1\n',
        '            self.output.counts.ignored["duplicate"] += 1\n            return True\n',
        SESSION,
    ),
    Bug(
        "delta before snapshot applied",
        "session/session.py",
        "if book is not None and book.status is live:",
        "if book is not None:",
        SESSION,
    ),
    Bug(
        "stale kept live after disconnect",
        "session/session.py",
        "        self.repair.mark_stale(self.repair.live())\n",
        "",
        SESSION,
    ),
    Bug(
        "resync never retried",
        "session/repair.py",
        "        self._deadline = now + self._timing.snapshot\n        if not chunk:",
        "        self._deadline = _NEVER\n        if not chunk:",
        SESSION,
    ),
    Bug(
        "backoff reset on connect",
        "session/session.py",
        "healthy = lasted >= self._timing.healthy or (",
        "healthy = lasted >= 0.0 or (",
        SESSION,
    ),
    Bug(
        "silent command not repeated",
        "session/reconciler.py",
        "            self._change(self.subscriptions[command.channel], command.cmd, command.keys, now, "
        "repeated=True)\n",
        "            pass\n",
        SESSION,
    ),
    Bug(
        "gap of another channel not announced",
        "session/repair.py",
        "        self._output.items.append(\n            Gap(subscription.name,",
        "        is_book and self._output.items.append(\n            Gap(subscription.name,",
        SESSION,
    ),
    Bug(
        "status change not reported",
        "session/repair.py",
        "                book.set_status(BookStatus.STALE)\n                "
        "self._output.status_changed.add(ticker)\n",
        "                book.set_status(BookStatus.STALE)\n",
        SESSION,
    ),
    Bug(
        "reconnect asks for nothing",
        "session/reconciler.py",
        "        self.unsettled = set(self._wanted.channels)\n",
        "",
        SESSION,
    ),
    # the dispatcher
    Bug(
        "lagged not counted",
        "dispatch/mailbox.py",
        "            self._counters.dropped += some\n",
        "",
        DISPATCH,
    ),
    Bug(
        "a message lost between two chunks",
        "dispatch/mailbox.py",
        "            entry.position = end\n",
        "            entry.position = end + 1\n",
        DISPATCH,
    ),
    Bug(
        "event out of place on overflow",
        "dispatch/mailbox.py",
        "                        box.head.append(entry)\n",
        "                        box.head.appendleft(entry)\n",
        DISPATCH,
    ),
    Bug(
        "newest book not served",
        "dispatch/mailbox.py",
        "                self.boxes[index].dirty.update({ticker: dirty[ticker] for ticker in tickers})\n",
        "                self.boxes[index].dirty = self.boxes[index].dirty or dict(dirty)\n",
        DISPATCH,
    ),
    Bug(
        "one callback that raises skips the next",
        "dispatch/worker.py",
        "                        self._runner.failed(entry, message, error)\n",
        "                        self._runner.failed(entry, message, error)\n                        break\n",
        DISPATCH,
    ),
    Bug(
        "stream keeps the oldest",
        "dispatch/stream.py",
        "self._messages.extend(matching[len(gone) :])",
        "self._messages.extend(matching[: self.maxsize])",
        DISPATCH,
    ),
    # the bytes
    Bug(
        "head of an incomplete frame forgotten",
        "connection/read_ahead.py",
        "                at -= 4\n",
        "",
        CHUNKS,
    ),
    Bug(
        "bytes after a large frame lost",
        "connection/read_ahead.py",
        "bytes(self._growing), 0",
        "bytes(self._growing[: self._needed]), 0",
        CHUNKS,
    ),
    Bug(
        "fragments of the last message kept",
        "connection/transport.py",
        "            self._take_binary(message)\n        self._fragments = None\n",
        "            self._take_binary(message)\n            return\n        self._fragments = None\n",
        CHUNKS,
    ),
    Bug(
        "what is inflated has no bound",
        "connection/deflate.py",
        "payload + _FLUSHED, most + 1)",
        "payload + _FLUSHED)",
        DEFLATE,
    ),
    Bug(
        "nothing is inflated after a deflate stream that ends",
        "connection/deflate.py",
        "            if self._inflater.eof:\n",
        "            if not self._inflater:\n",
        DEFLATE,
    ),
    # the users' requests
    Bug(
        "a request is taken before it is applied",
        "engine/requests.py",
        "            change = queued[0]\n            self._apply_locked(change)\n            if self.tap is "
        "not None:\n"
        "                self.tap.wish(change)\n            queued.popleft()\n",
        "            change = queued.popleft()\n            self._apply_locked(change)\n            if "
        "self.tap is not None:\n"
        "                self.tap.wish(change)\n",
        INTERRUPTED,
    ),
    Bug(
        "a request is applied on top of the session",
        "engine/requests.py",
        "        if self._store.is_held():\n            self.queued",
        "        if False:\n            self.queued",
        ON_TOP,
    ),
    # recordings
    Bug(
        "the numbers of a gap are not restored",
        "session/server_subscription.py",
        "subscription.floor, subscription.hole = memory.floor, range(*memory.hole)",
        "subscription.floor = memory.floor",
        MEMORY,
    ),
    Bug(
        "a replay applies a whole read before its callbacks",
        "recording/replaying.py",
        "            for _ in self._messages(turn.payloads, now):\n"
        "                if player is not None and not self._all_wait(player):\n"
        "                    return\n            self._waits.hold()\n            self.turn([], now)\n",
        "            self._waits.hold()\n            self.turn(turn.payloads, now)\n",
        REPLAY,
    ),
    # following a series
    Bug(
        "a market's steps go back",
        "following/roster.py",
        "        known.step = max(known.step, reached)\n",
        "        known.step = known.reported = reached\n",
        ROSTER,
    ),
    Bug(
        "an old list wins over a message",
        "following/roster.py",
        "            if known.heard_at >= asked_at - _LATE:\n",
        "            if known.heard_at >= asked_at + _LATE:\n",
        ROSTER,
    ),
    Bug(
        "a market lingers from when its close is noticed",
        "following/roster.py",
        "            known.closed_at = min(now, max(known.close_at, now - self._linger))\n",
        "            known.closed_at = now\n",
        ROSTER,
    ),
    Bug(
        "the next market waits until the limit has room",
        "following/roster.py",
        "            elif self._limit is None or one.close_at - self._lead <= now:\n",
        "            elif self._limit is None:\n",
        ROSTER,
    ),
    Bug(
        "lifecycle messages that were lost are not listed",
        "following/follower.py",
        "        missed = self._has_gap or stream.dropped > self._dropped\n",
        "        missed = stream.dropped > self._dropped\n",
        FOLLOW + "S49_a_market_whose_message_was_lost_comes_from_rest[lost]",
    ),
    Bug(
        "markets open and close by the wall clock",
        "following/follower.py",
        "        return time.monotonic() + self._offset\n",
        "        return time.time() - self._wall_offset + self._offset\n",
        FOLLOW + "R39_the_wall_clock_is_set_while_it_follows",
    ),
    # the filling of gaps
    Bug(
        "a fill is dropped because its trade has come over REST",
        "engine/holding.py",
        "            if key_of(item) in self._ids.get(channel, ()):\n",
        "            if any(key_of(item) in ids for ids in self._ids.values()):\n",
        FILLING + "test_a_fill_has_the_id_of_its_trade",
    ),
    Bug(
        "an older gap's answer releases the trades that wait for a newer one's",
        "engine/live.py",
        '        releases = releases and channel == "trade" and holes.newest(channel) == hole.number\n',
        '        releases = releases and channel == "trade"\n',
        FILLING + "test_an_older_gap_does_not_release",
    ),
    Bug(
        "trades that wait are not in a checkpoint",
        "recording/checkpoint.py",
        "    line.holding = engine.holding.save() if engine.holding is not None else None\n",
        "",
        FILLING + "test_S53_rest_is_slower_than_the_timeout",
    ),
    Bug(
        "fills are read before the account's data has passed the gap",
        "filling/jobs.py",
        "        return as_of.timestamp() >= hole.until + _UNSURE, (\n",
        "        return True, (\n",
        FILLING + "test_S53_account_data_that_lags",
    ),
    Bug(
        "a gap ends with the connection, not with the subscription",
        "engine/holes.py",
        "                if hole.until is None and session.confirmed(channel, named):\n",
        "                if hole.until is None:\n",
        FILLING + "test_S52_gaps_within_a_connection",
    ),
    # the relay (some of these tests need redis-server)
    Bug(
        "a relay's consumer ignores a hole in the numbers",
        "relay/tracking.py",
        "        return self.position is not None and id == self.position.next\n",
        "        return self.position is not None and id > self.position\n",
        RELAY + "test_tracking.py::test_holes",
    ),
    Bug(
        "a relay's consumer is LIVE at the checkpoint",
        "relay/tracking.py",
        "        self.is_current = self.position > self._goal\n",
        "        self.is_current = True\n",
        RELAY + "test_tracking.py::test_current_only_after_an_entry_that_is_new",
    ),
    Bug(
        "a relay's consumer takes what the network held back for news",
        "relay/consumer.py",
        "        if is_end and not self._was_held_up(arrived) and tracker.read_to_end():\n",
        "        if is_end and tracker.read_to_end():\n",
        RELAY + "test_hostile_streams.py::test_entries_that_the_network_held_back_prove_nothing",
    ),
    Bug(
        "a relay writes no checkpoint when Redis comes back empty",
        "relay/publishing.py",
        "            self._must_begin\n            or (self._is_asked and",
        "            (self._is_asked and",
        RELAY
        + "test_publishing.py::test_redis_that_lost_its_data_gets_all_that_came_meanwhile_and_a_checkpoint",
    ),
    Bug(
        "a relay's wishes end only when no one talks",
        "relay/serving.py",
        "        has_read_all = all(len(messages) < self._count for _, messages in found)",
        "        has_read_all = not found",
        RELAY + "test_serving.py::test_leases_end_although_others_never_stop_talking",
    ),
)

QUICK: Final = (
    "zero level kept",
    "gap applied",
    "a message lost between two chunks",
    "head of an incomplete frame forgotten",
)
