"""A connection to the Redis that a relay and its consumers share. Owns when it is made, used and ended.

redis-py does the talking, and nothing else: it makes no sockets (wire.py), repeats no command, and its errors
do not get past this module (refusals.py), because their frames hold what AUTH sent.
"""

from __future__ import annotations

import functools
import inspect
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..connection.context import ca_context, default_context
from ..connection.redaction import without_locals
from ..errors import ConfigurationError, RelayError
from ..extras import how_to_install
from ..forks import call_in_child
from ..greenlets import free_in_child, lock
from .address import RedisAddress, RedisLogin, parse_redis_url, relay_password
from .refusals import IdTaken, Situation, may_go_on, moved_to, translated
from .wire import ReplyTooLong, Wire, dial

if TYPE_CHECKING:
    import redis

__all__ = ["LONGEST_REPLY", "IdTaken", "RedisClient", "ReplyTooLong"]

LONGEST_REPLY: Final = 64 * 1024 * 1024
"""Bytes that may come in reply to a command, or to the commands of one run_each()."""

_MOST_MOVES: Final = 3  # within one call; a cluster whose nodes agree needs one

T = TypeVar("T")


class RedisClient:
    """The node of Redis that has a relay's keys. For one thread at a time, except close(), which any thread
    may call, and which ends a call that is waiting.

    ``url``: redis://, rediss:// or unix://. ``password``: wins over the url's; if there is neither, that of
    the environment counts (relay_password()). ``ca_file``: certificates (PEM) to trust for rediss://, instead
    of certifi's. ``timeout``: seconds for connecting, and for each reply; a command that blocks must take
    less. ``longest_reply``: bytes, by default LONGEST_REPLY. Raises ConfigurationError for what cannot work;
    connects with the first run().

    The url may name any node of a cluster: the client goes where MOVED points, and back to the url when that
    node is gone. In a forked child it makes a connection of its own.
    """

    @without_locals
    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        timeout: float = 5.0,
        longest_reply: int | None = None,
    ) -> None:
        try:
            import redis
        except ImportError as error:
            raise ConfigurationError(f"a relay needs the package redis; {how_to_install('redis')}") from error
        if password is not None and not isinstance(password, str):
            raise ConfigurationError(f"must be a str or None, not {type(password).__name__}", "password")
        if not timeout > 0:
            raise ConfigurationError(f"must be more than 0 seconds, not {timeout!r}", "timeout")
        self._redis = redis
        address = parse_redis_url(url)
        if address.login.secrets or password:
            login = address.login.with_password(password or None)
        else:
            login = address.login.with_password(relay_password())
        self._ca_file = None if ca_file is None else os.fspath(ca_file)
        if self._ca_file is not None and not address.is_secure:
            raise ConfigurationError(
                "is for rediss:// only: this url would send everything unencrypted", "ca_file"
            )
        self._begin_with(address, login, timeout, longest_reply or LONGEST_REPLY)
        if address.is_secure:
            self._tls_context()

    def another(self, *, timeout: float | None = None) -> RedisClient:
        """Return another client for the same Redis, for another thread, with the same options except for
        these."""
        twin = copy(self)
        twin._begin_with(self._address, self._login, timeout or self._timeout, self._longest_reply)
        return twin

    def _begin_with(
        self, address: RedisAddress, login: RedisLogin, timeout: float, longest_reply: int
    ) -> None:
        self._address = address
        self._login = login
        self._timeout = timeout
        self._longest_reply = longest_reply
        self.redacted = address.redacted  # without user and password, for messages
        self._context: ssl.SSLContext | None = None
        self._moved: tuple[str, int] | None = None  # the node that MOVED named; the owner's
        # Guards the four below, and Wire's own. Held for calls that do not block.
        self._lock = lock()
        self._client: redis.Redis | None = None
        self._wire: Wire | None = None  # the connection that is being made or used
        self._is_busy = False  # a call is under way
        self._is_closing = False  # and it is to end
        call_in_child(self._forget)

    def run(self, call: Callable[[redis.Redis], T]) -> T:
        """Return what ``call`` returns. Connects if necessary.

        ``call`` is called again only if a cluster's node answered MOVED, and so did nothing. Raises
        RelayError, which is ``retryable`` if Redis cannot be reached or is out of order for now, and not if
        it refuses the user or the command (IdTaken); ReplyTooLong. After a retryable error, Redis may have
        carried the command out.
        """
        failure: RelayError | None = None
        self._begin()
        is_good = False
        try:
            for _ in range(_MOST_MOVES):
                try:
                    result = call(self._open())
                except (self._redis.RedisError, RelayError) as error:
                    is_good = may_go_on(error)
                    failure = self._failure(error, is_good)
                    if not self._follow(error):
                        break
                else:
                    is_good = True
                    return result
        finally:
            self._end(is_good)
        assert failure is not None
        raise failure

    def run_each(self, commands: Sequence[Sequence[bytes | str | int | float]]) -> list[Any]:
        """Send all commands at once, and return the reply to each as Redis gives it, or the RelayError that
        run() would raise for it.

        Takes a fifth of the time that run() takes. Raises RelayError as run() does if not all replies came;
        Redis may have carried out any of them then.
        """
        replies: list[Any] = []
        for _ in range(_MOST_MOVES):
            done = len(replies)
            replies += self.run(lambda client: _exchanged(client, commands[done:]))  # noqa: B023  # called here
            moved = next((n for n, reply in enumerate(replies) if self._follow(reply)), None)
            if moved is None:
                break
            self._drop()
            del replies[moved:]  # they were refused as well: the keys are on one node
        return [
            self._failure(reply, True) if isinstance(reply, self._redis.RedisError) else reply
            for reply in replies
        ]

    def close(self) -> None:
        """Close the connection. A call that is waiting for it raises RelayError at once; the next run() makes
        another connection. Any thread."""
        with self._lock:
            if not self._is_busy:
                client, self._client, self._wire = self._client, None, None
            else:  # the connection is the other thread's
                client = None
                self._is_closing = True
                if self._wire is not None:
                    self._wire.interrupt()
        if client is not None:
            client.connection_pool.disconnect()

    def __repr__(self) -> str:
        return f"<RedisClient {self.redacted}>"

    # -- a call ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        with self._lock:
            self._is_busy = True
            self._is_closing = False

    def _end(self, is_good: bool) -> None:
        with self._lock:
            self._is_busy = False
            is_over = self._is_closing or not is_good
        if is_over:
            self._drop()

    def _follow(self, reply: object) -> bool:
        """If Redis says that another node has the keys, turn to that, and return True."""
        target = moved_to(reply)
        if target is None:
            return False
        self._moved = (target[0] or self._node.host, target[1])
        self._drop()
        return True

    def _failure(self, error: Exception, is_good: bool) -> RelayError:
        if self._is_closing:
            return RelayError(f"the connection to Redis at {self.redacted} was closed by close()")
        wire, node = self._wire, self._node
        situation = Situation(
            where=node.redacted,
            user=self._login.user,
            secrets=self._login.secrets,
            timeout=self._timeout,
            has_answered=wire is not None and wire.has_answered,
            is_secure=node.is_secure or bool(node.path),
        )
        if not is_good:
            self._moved = None  # if that node is gone, the one in the url knows which has its keys
        return translated(error, situation)

    # -- the connection --------------------------------------------------------------------------------------

    @property
    def _node(self) -> RedisAddress:
        return self._address if self._moved is None else self._address.at(*self._moved)

    def _open(self) -> redis.Redis:
        client = self._client
        if client is None:
            pool = self._redis.ConnectionPool(
                connection_class=_connection_class(),
                dial=self._dial,
                host=self._node.host or self._node.path,
                port=self._node.port,
                db=0 if self._moved else self._address.database,
                credential_provider=self._login or None,
                socket_timeout=self._timeout,
                protocol=2,
                retry=self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0),
                **_unnamed(),
            )
            client = self._client = self._redis.Redis(connection_pool=pool, single_connection_client=True)
        elif (wire := self._wire) is not None and wire.is_spoiled():
            self._drop()
            return self._open()
        return client

    def _dial(self) -> Wire:
        return dial(self._node, self._timeout, self._tls_context, self._watched)

    def _watched(self, connected: socket.socket) -> Wire:
        wire = Wire(connected, self._longest_reply, self._lock)
        with self._lock:
            self._wire = wire
            is_closing = self._is_closing
        if is_closing:
            wire.close()
            raise RelayError("closed while connecting")
        return wire

    def _tls_context(self) -> ssl.SSLContext:
        """Return the settings; gevent may have come in the meantime, with a class of its own."""
        context = self._context
        if context is None or not isinstance(context, ssl.SSLContext):
            context = default_context() if self._ca_file is None else ca_context(self._ca_file)
            self._context = context
        return context

    def _drop(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            self._wire = None
        if client is not None:
            client.connection_pool.disconnect()

    def _forget(self) -> None:
        """In a forked child: the connection is the parent's."""
        free_in_child(self._lock)
        wire, self._wire, self._client, self._is_busy = self._wire, None, None, False
        if wire is not None:
            wire.close_in_child()


def _exchanged(client: redis.Redis, commands: Sequence[Sequence[bytes | str | int | float]]) -> list[Any]:
    """Send the commands and read the replies, without what redis-py does around that: its pipeline takes
    0.1 ms for each entry, and there may be thousands in a second."""
    import redis

    line: Any = client.connection
    replies: list[Any] = []
    if commands:
        line.send_packed_command([b"".join(map(_packed, commands))], check_health=False)
    for _ in commands:
        try:
            replies.append(line.read_response())
        except redis.ResponseError as error:
            replies.append(error)
    return replies


def _packed(command: Sequence[bytes | str | int | float]) -> bytes:
    pieces = [b"*%d\r\n" % len(command)]
    for word in command:
        data = word if isinstance(word, bytes) else str(word).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(pieces)


@functools.cache
def _connection_class() -> type[redis.Connection]:
    """A connection of redis-py on a Wire."""
    import redis

    class WireConnection(redis.Connection):
        """One connection. Owned by its client's thread."""

        def __init__(self, *, dial: Callable[[], Wire], **options: Any) -> None:
            self._dial = dial
            super().__init__(**options)  # type: ignore[no-untyped-call]

        def _connect(self) -> Wire:
            wire = self._dial()
            wire.settimeout(self.socket_timeout)
            return wire

        def can_read(self, timeout: float = 0) -> bool:
            wire: Any = self._sock
            if wire is None:
                self.connect()  # type: ignore[no-untyped-call]
                wire = self._sock
            return bool(wire.is_spoiled())  # redis-py itself takes the session tickets of TLS for a reply

        def read_response(self, *arguments: Any, **options: Any) -> Any:
            wire: Any = self._sock
            try:
                reply = super().read_response(*arguments, **options)
            except (
                ValueError,
                RecursionError,
                MemoryError,
            ) as error:  # of the parser that is written in Python
                self.disconnect()  # type: ignore[no-untyped-call]
                raise redis.InvalidResponse(f"{type(error).__name__}: {error}") from None
            except redis.ResponseError:
                wire.has_answered = True
                raise
            wire.has_answered = True
            return reply

    return WireConnection


@functools.cache
def _unnamed() -> dict[str, Any]:
    """The options with which redis-py does not announce its name: a command more that an ACL must allow."""
    import redis

    known = inspect.signature(redis.connection.AbstractConnection.__init__).parameters
    return {"driver_info": None} if "driver_info" in known else {"lib_name": None, "lib_version": None}
