"""The relay's second thread: it reads what consumers want, and has the relay's feed do it.

Owns WishServer. A standby serves wishes as well, so that it has the same markets when it takes over; only the
writer answers.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..connection.redaction import detach
from ..engine.engine import Engine, log
from ..errors import ConfigurationError, KalshiFeedError, RelayError
from ..following import Following, follow
from ..session.wanted import Want
from ..threads import ServiceThread
from ..waiting import Signal
from .client import RedisClient, ReplyTooLong
from .layout import Keys
from .publishing import Publisher
from .registry import FollowKey, Group, Taken, WishRegistry
from .wishes import LEASE, OneTimeRequest, Wishes, WishesAnswer, decode_wishes, encode_answer

if TYPE_CHECKING:
    import redis

__all__ = ["WishServer"]

_BLOCK: Final = 0.25  # seconds that one read waits for wishes
_COUNT: Final = 200  # messages in one read
_EXPIRE_EVERY: Final = 1.0  # seconds
_TRIM_EVERY: Final = 10.0  # seconds
_TRIMS_KEPT: Final = int(LEASE / _TRIM_EVERY) + 1
_UNREAD: Final = 1_000  # messages that may have come since the last look, so that a trim removes none of them
_RETRY: Final = 0.5  # seconds after Redis could not be reached
_REPORT_AFTER: Final = 2.0  # seconds in which the publisher also notices that Redis is away
_KEYS_AT_ONCE: Final = 1_000  # the store's lock is held for about half a millisecond


class WishServer:
    """Serves wishes. Its state belongs to its thread, except for counters, which any thread may read.

    ``keys``: of the market data, and with account data those of the account.
    """

    def __init__(
        self,
        engine: Engine,
        client: RedisClient,
        publisher: Publisher,
        registry: WishRegistry,
        keys: list[Keys],
    ) -> None:
        self._engine = engine
        self._client = client
        self._publisher = publisher
        self.registry = registry
        self._positions = {key.wishes.encode(): "" for key in keys}  # by key, the id read last
        self._account_key = keys[1].wishes.encode() if len(keys) > 1 else b""
        self._began_ms = 0  # Redis's time when this began
        self._wants: dict[Group, Want] = {}
        self._followings: dict[FollowKey, Following] = {}
        self._count = _COUNT  # messages in one read
        self._expire_at = self._trim_at = 0.0
        # by key, how many messages came between the last trims
        self._counts = {key: deque([0], _TRIMS_KEPT) for key in self._positions}
        self._unheard_since: float | None = None  # since when Redis cannot be reached
        self._is_reported = False  # whether that was reported
        self.ignored = 0  # messages that no consumer has sent
        self._is_stopping = False
        self._is_left = False  # in a forked child
        self._interrupt = Signal()
        self._thread = ServiceThread(self._run, engine.thread_name("wishes"))

    # -- any thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system cannot start one."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._is_stopping = True
        self._interrupt.set()

    def leave(self) -> None:
        """End without changing what the feed wants."""
        self._is_left = True
        self.stop()

    def join(self, timeout: float) -> None:
        """Wait for the end, at most ``timeout`` seconds."""
        if ServiceThread.current() is not self._thread:
            self._thread.join(timeout)

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_stopping and self._publisher.is_alive:
                try:
                    self._serve()
                except RelayError as error:
                    if not self._is_stopping:
                        self._failed(error)
                except Exception as defect:  # a bug of ours
                    self._report(
                        f"a defect in kalshi_feed: wishes were not served, please report it: {defect!r}",
                        detach(defect),
                    )
                    self._interrupt.wait(_RETRY)
            if not self._is_left:
                self._apply(self.registry.clear(), "")
        except KalshiFeedError:
            pass  # the feed has failed: it wants nothing anymore
        finally:
            self._client.close()

    def _serve(self) -> None:
        """One read, and what follows from it."""
        if not self._began_ms:
            self._begin()
        try:
            found = self._client.run(self._read)
        except ReplyTooLong:
            self._read_less()
            return
        has_read_all = all(len(messages) < self._count for _, messages in found)  # also what extends a lease
        self._count = min(self._count * 2, _COUNT)
        now = time.monotonic()
        if self._unheard_since is not None:
            self.registry.extend(now - self._unheard_since)
            self._unheard_since = None
        for key, messages in found:
            for id, fields in messages:
                self._positions[key] = id.decode()
                self._counts[key][-1] += 1
                self._take(fields.get(b"p"), self._age(id), key == self._account_key, now)
        if has_read_all and now >= self._expire_at:
            self._expire_at = now + _EXPIRE_EVERY
            self._apply(self.registry.expire(now), "")
        if has_read_all and now >= self._trim_at:
            self._trim(now)

    def _begin(self) -> None:
        """Begin with what was sent within the last lease."""
        self._began_ms = self._client.run(_time_of)
        self._skip_to(self._began_ms - int(LEASE * 1000))

    def _read(self, client: redis.Redis) -> list[Any]:
        positions: Any = self._positions
        found: Any = client.xread(positions, count=self._count, block=int(_BLOCK * 1000))
        return list(found.items() if isinstance(found, dict) else found or ())

    def _read_less(self) -> None:
        """Read fewer messages at once; if a single one is too long, leave out all that are there now."""
        if self._count == 1:
            self._skip_to(self._client.run(_time_of) - 1)
            self.ignored += 1
        self._count = max(self._count // 10, 1)

    def _skip_to(self, ms: int) -> None:
        for key in self._positions:
            self._positions[key] = f"{ms}-0"

    def _trim(self, now: float) -> None:
        """Remove messages that are older than a lease, by their number: Redis 5 cannot do so by their age."""
        self._trim_at = now + _TRIM_EVERY
        if self._publisher.is_writer:
            for key, counts in self._counts.items():
                keep = sum(counts) + _UNREAD
                self._client.run(lambda redis: redis.xtrim(key, keep, approximate=True))  # noqa: B023  # at once
        for counts in self._counts.values():
            counts.append(0)

    def _age(self, id: bytes) -> float:
        """How many seconds before this server began the message was sent; 0 if it was after that."""
        return max(self._began_ms - int(id.partition(b"-")[0]), 0) / 1000

    def _take(self, payload: bytes | None, age: float, account: bool, now: float) -> None:
        try:
            wishes = decode_wishes(payload or b"")
        except ValueError:
            self.ignored += 1
            return
        taken = self.registry.take(wishes, now - age, account=account, is_old=age > 0)
        refused = taken.refused | self._apply(taken, wishes.consumer)
        self._answer(wishes, refused, account)

    def _answer(self, wishes: Wishes, refused: dict[int, str], account: bool) -> None:
        payload = encode_answer(WishesAnswer(wishes.consumer, wishes.serial, refused))
        with self._engine.store.lock:
            self._publisher.queue.answer_locked(payload, time.monotonic(), account=account)

    # -- what the relay's feed does --------------------------------------------------------------------------

    def _apply(self, taken: Taken, consumer: str) -> dict[int, str]:
        """Have the feed do it. Returns what it refuses."""
        refused: dict[int, str] = {}
        steps: list[tuple[Group | FollowKey, Callable[[], None]]] = [
            *((group, partial(self._add, group, keys)) for group, keys in taken.added.items()),
            *((group, partial(self._add_again, group, keys)) for group, keys in taken.repeated.items()),
            *((key, partial(self._follow, key)) for key in taken.follow),
        ]
        for subject, do in steps:
            try:
                do()
            except ConfigurationError as error:  # it contradicts what the feed's own program wants
                more = self.registry.refuse(consumer, subject, str(error))
                refused |= more.refused
                self._remove(more)
        self._remove(taken)
        for request in taken.requests:
            self._carry_out(request)
        return refused

    def _remove(self, taken: Taken) -> None:
        requests = self._engine.requests
        for group, keys in taken.removed.items():
            want = self._wants.get(group)
            if want is None:  # it was refused
                continue
            if not self.registry.holds(group):
                del self._wants[group]
                requests.unsubscribe(want)
                continue
            for part in _parts(keys):
                requests.delete_markets(want, part)
        for key in taken.unfollow:
            following = self._followings.pop(key, None)
            if following is not None:
                with suppress(KalshiFeedError):  # the feed has failed: it follows nothing anymore
                    following.unsubscribe()

    def _add(self, group: Group, keys: list[str]) -> None:
        requests, want = self._engine.requests, self._wants.get(group)
        keys = self.registry.wanted_of(group, keys)  # the wish may have been refused for another reason
        if not keys:
            return
        parts = _parts(keys) if group.selector is not None else [[]]
        if want is None:
            want = Want((group.channel,), group.selector, parts[0], {})
            requests.subscribe(want)
            self._wants[group] = want
            del parts[0]
        for part in parts:
            requests.add_markets(want, part)

    def _add_again(self, group: Group, keys: list[str]) -> None:
        """Another consumer wants these already; if the exchange has refused them, ask it again."""
        want = self._wants.get(group)
        if want is None:
            return
        if group.selector is None:
            if want.failed:
                del self._wants[group]
                self._engine.requests.unsubscribe(want)
                self._add(group, keys)
            return
        refused = self._engine.requests.look(lambda: set(want.refused.get(group.channel, ())))
        again = [key for key in keys if key in refused]
        if again:
            self._engine.requests.add_markets(want, again)

    def _follow(self, key: FollowKey) -> None:
        if not self.registry.is_followed(key):
            return
        self._followings[key] = follow(
            self._engine,
            series=key.series,
            event=key.event,
            channels=key.channels,
            where=None,
            lead=key.lead,
            linger=key.linger,
            limit=key.limit,
            rest=None,
        )

    def _carry_out(self, request: OneTimeRequest) -> None:
        requests, words = self._engine.requests, request.words
        if request.do == "checkpoint":
            self._publisher.ask_for_checkpoint()
        elif not self._publisher.is_writer:
            return
        elif request.do == "ask":
            requests.ask(words[0], words[1:])
        else:
            wanted = requests.look(lambda: [word for word in words if requests.wanted.wants_book(word)])
            if request.do == "request_snapshots" and wanted:
                requests.request_snapshots(wanted)
            elif request.do == "ask_again":
                for word in wanted:
                    requests.ask_again(word)

    # -- when something goes wrong ---------------------------------------------------------------------------

    def _failed(self, error: RelayError) -> None:
        now = time.monotonic()
        if self._unheard_since is None:
            self._unheard_since, self._is_reported = now, False
        # The publisher reports that Redis is away. This one may be refused what the publisher may do.
        is_alone = self._publisher.trouble is None and now - self._unheard_since > _REPORT_AFTER
        if is_alone and not self._is_reported:
            self._is_reported = True
            self._report(f"the relay cannot read what its consumers want: {error}; trying again", error)
        self._interrupt.wait(_RETRY)

    def _report(self, text: str, error: BaseException | None = None) -> None:
        log(logging.ERROR, "%s", text)
        self._engine.report_fault("relay", text, error)


def _time_of(client: redis.Redis) -> int:
    """Redis's time in Unix ms."""
    found: Any = client.time()
    return int(found[0]) * 1000 + int(found[1]) // 1000


def _parts(keys: list[str]) -> list[list[str]]:
    return [keys[start : start + _KEYS_AT_ONCE] for start in range(0, len(keys), _KEYS_AT_ONCE)]
