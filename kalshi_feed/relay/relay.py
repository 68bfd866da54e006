"""Relay: a feed whose inputs go to a stream in Redis, for any number of consumers. Owns the arguments, and
the start and end of its threads.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from ..connection.redaction import without_locals
from ..engine.live import LiveEngine
from ..engine.signals import CLOSING_SIGNALS, closing
from ..errors import ConfigurationError, RelayError
from ..events import FeedState
from ..forks import call_in_child
from ..threads import sleep
from ..waiting import checked_timeout
from .client import RedisClient
from .layout import DEFAULT_NAME, keys_of
from .lease import LEASE_LASTS, Lease
from .publishing import Publisher
from .registry import WishRegistry
from .serving import WishServer
from .stats import RelayStats
from .streams import StreamWriter

if TYPE_CHECKING:
    from ..feed import KalshiFeed

__all__ = ["Relay"]

_PATIENCE: Final = LEASE_LASTS + 1.0  # seconds: a relay that was killed leaves a lease that ends by itself
_LOOK: Final = 0.1  # seconds between two looks at the lease
_LEAST_KEEP, _MOST_KEEP = 10.0, 86_400.0


class Relay:
    """Relays a feed to consumers (``KalshiFeed.from_relay()``) through Redis. Thread-safe; a context manager.

    ``url``: redis://, rediss:// or unix://; ``password`` wins over the url's; ``ca_file``: certificates (PEM)
    to trust. ``name``: consumers find the relay by it. ``allow``: patterns such as "KXNFL*" for what
    consumers may ask for: markets, series, events. ``account``: also relay the account's messages, in a
    stream that only consumers with account=True read. ``keep``: about how many seconds of entries the stream
    keeps, at the highest rate of the last minutes (at least 1,000 entries, at most 200,000).

    Only one relay of a name writes at a time. Without ``standby``, a second one fails at start(). With it,
    its feed runs, and it takes over within a few seconds when the first one is gone.

    A relayed feed cannot be recorded as well: call record() at a consumer. Needs the extra ``redis``. Raises
    ConfigurationError.
    """

    @without_locals  # the url and the password
    def __init__(
        self,
        feed: KalshiFeed,
        url: str,
        *,
        name: str = DEFAULT_NAME,
        password: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        allow: Iterable[str] = ("*",),
        account: bool = False,
        keep: float = 120.0,
        standby: bool = False,
    ) -> None:
        engine = getattr(feed, "_engine", None)
        if not isinstance(engine, LiveEngine):
            raise ConfigurationError(
                "a relay needs a feed that is connected to the exchange: a KalshiFeed that is neither a "
                "replay nor itself a relay's consumer"
            )
        keys_of(name)
        patterns = (allow,) if isinstance(allow, str) else tuple(allow)
        if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
            raise ConfigurationError(
                f"must be patterns such as 'KXNFL*', and at least one, not {allow!r}", "allow"
            )
        if (
            isinstance(keep, bool)
            or not isinstance(keep, (int, float))
            or not _LEAST_KEEP <= keep <= _MOST_KEEP
        ):
            raise ConfigurationError(
                f"must be a number of seconds, at least {_LEAST_KEEP:.0f}, not {keep!r}", "keep"
            )
        for argument, value in (("account", account), ("standby", standby)):
            if not isinstance(value, bool):
                raise ConfigurationError(f"must be True or False, not {value!r}", argument)
        self._feed = feed  # held, so that it is not closed while it is relayed
        self._engine = engine
        self._client = RedisClient(url, password=password, ca_file=ca_file)  # others are made from it
        self._name, self._allow, self._keep = name, patterns, float(keep)
        self._account, self._standby = account, standby
        self._closes_feed = False  # the feed was started here, and ends with the relay
        self._publisher: Publisher | None = None  # of the last start()
        self._server: WishServer | None = None
        self._clients: list[RedisClient] = []
        call_in_child(self._leave_child)

    @property
    def name(self) -> str:
        """The name by which consumers find it."""
        return self._name

    @property
    def url(self) -> str:
        """The url of Redis, without user and password."""
        return self._client.redacted

    @property
    def feed(self) -> KalshiFeed:
        """The relay's feed."""
        return self._feed

    @property
    def is_writer(self) -> bool:
        """Whether this relay writes the stream now, and not another one."""
        return self._publisher is not None and self._publisher.is_writer

    @property
    def error(self) -> RelayError | None:
        """Why the relay has ended by itself, or None."""
        error = None if self._publisher is None else self._publisher.error
        return None if error is None else error.fresh()  # type: ignore[return-value]  # of the same class

    def start(self) -> Relay:
        """Begin to relay; start the feed if it is not running. Returns the relay.

        Waits until the lease is free, for about four seconds at most, unless it is a standby. Raises
        RelayError if Redis cannot be reached or another relay has the lease, ConfigurationError if the feed
        is being recorded or relayed already, and what the feed's start() raises.
        """
        engine = self._engine
        engine.check()
        if self._publisher is not None and self._publisher.is_alive:
            return self
        all_keys = [keys_of(self._name), *([keys_of(self._name, account=True)] if self._account else [])]
        self._clients = [self._client.another(), self._client.another()]
        lease = Lease(self._clients[0], all_keys[0].lease)
        writers = [
            StreamWriter(keys, account=index > 0, keep=self._keep) for index, keys in enumerate(all_keys)
        ]
        ended = weakref.WeakMethod(self._ended)  # a relay that is dropped takes its feed along
        publisher = Publisher(
            engine,
            self._clients[0],
            lease,
            writers,
            standby=self._standby,
            on_end=lambda: None if (method := ended()) is None else method(),
        )
        registry = WishRegistry(self._allow, account=self._account)
        server = WishServer(engine, self._clients[1], publisher, registry, all_keys)
        has_lease = False
        try:
            with engine.store.lock:
                if engine.tap is not None and not engine.tap.ended:
                    raise ConfigurationError(
                        "this feed is being recorded or relayed already; record at a consumer of the relay"
                    )
                engine.record(publisher.queue)
            has_lease = self._wait_for_lease(lease)
            self._publisher, self._server = publisher, server
            publisher.start()
            server.start()
            if has_lease:
                _wait_for_writing(publisher)
            if engine.state in (FeedState.IDLE, FeedState.CLOSED):
                self._closes_feed = True
                engine.start()
        except BaseException:  # also Ctrl-C
            engine.stop_recording(publisher.queue)
            if publisher.is_alive:
                self.close(1.0)
            else:
                if has_lease:
                    _release(lease)
                for client in self._clients:
                    client.close()
            raise
        return self

    def _wait_for_lease(self, lease: Lease) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while not lease.hold():
            if self._standby:
                return False
            if time.monotonic() >= deadline:
                raise RelayError(
                    f"another relay named {self._name!r} writes already ({lease.holder}): stop that one, or "
                    "start this one with standby=True (--standby), so that it takes over if that one fails",
                    retryable=False,
                )
            sleep(_LOOK)
        return True

    def close(self, timeout: float = 5.0) -> None:
        """End the relay within ``timeout`` seconds, after writing what is queued. Idempotent.

        The feed goes on, unless start() has started it: then it is closed as well. In a forked child it does
        nothing.
        """
        seconds = checked_timeout(timeout)
        publisher, server = self._publisher, self._server
        if publisher is None or server is None or self._engine.store.forked:
            return
        closes_feed, self._closes_feed = self._closes_feed, False
        deadline = time.monotonic() + (1e6 if seconds is None else seconds)
        publisher.close_by(deadline)
        server.stop()
        self._engine.stop_recording(publisher.queue)
        for thread in (publisher, server):
            thread.join(max(deadline - time.monotonic(), 0.0))
        if publisher.is_alive:  # Redis does not answer
            publisher.leave()
        for client in self._clients:
            client.close()
        if closes_feed:
            self._engine.close(max(deadline - time.monotonic(), 0.5))

    def run_forever(self, signals: Iterable[int] = CLOSING_SIGNALS) -> None:
        """Start the relay if necessary, and wait until its feed is closed, or until the relay ends.

        Then both are closed. Ctrl-C and the signals close them as in the feed's run_forever(). Raises what
        start() raises, the feed's fatal error, and the relay's (another relay has taken over, say).
        """
        try:
            with closing(self._engine, signals) as scope:
                self.start()
                self._closes_feed = True
                if self.error is None and not scope.is_asked:
                    self._engine.wait_until_ended()
        except KeyboardInterrupt:
            pass
        finally:
            self.close()
        error = self.error
        if error is not None:
            raise error

    def _ended(self) -> None:
        """The publisher's last call."""
        publisher = self._publisher
        if publisher is not None and publisher.error is not None and self._closes_feed:
            self._engine.close(5.0, wait=False)

    def __enter__(self) -> Relay:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def stats(self) -> RelayStats:
        """Return the relay's metrics now."""
        publisher, server = self._publisher, self._server
        if publisher is None or server is None:
            return RelayStats()
        writers, queue, registry = publisher.writers, publisher.queue, server.registry
        error = publisher.error or publisher.trouble
        return RelayStats(
            state="ended" if not publisher.is_alive else "writing" if publisher.is_writer else "waiting",
            is_writer=publisher.is_writer,
            is_connected=publisher.is_alive and publisher.trouble is None,
            generation=publisher.generation,
            entries=sum(writer.entries for writer in writers),
            bytes=sum(writer.bytes for writer in writers),
            backlog=queue.waiting + max(len(writer.pending) for writer in writers),
            backlog_bytes=queue.waiting_bytes,
            late=publisher.late,
            missed=queue.missed,
            losses=queue.losses,
            kept=writers[0].most,
            checkpoints=publisher.checkpoints,
            checkpoint_bytes=publisher.checkpoint_bytes,
            consumers=registry.consumers,
            keys=registry.keys,
            follows=registry.follows,
            refused=registry.refused,
            ignored=server.ignored,
            errors=publisher.errors,
            last_error="" if error is None else str(error),
        )

    def _leave_child(self) -> None:
        if self._publisher is not None and self._server is not None:
            self._publisher.leave()
            self._server.leave()

    def __repr__(self) -> str:
        return f"<Relay {self._name!r} at {self._client.redacted}, {self.stats().state}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a Relay holds threads and connections, and cannot be pickled or copied")


def _wait_for_writing(publisher: Publisher) -> None:
    """Wait until it writes; it has the lease. Raises its error."""
    while publisher.is_alive and publisher.trouble is None and not publisher.is_writer:
        sleep(0.002)
    if publisher.error is not None:
        raise publisher.error.fresh()


def _release(lease: Lease) -> None:
    try:
        lease.release()
    except RelayError:
        pass  # it ends by itself
