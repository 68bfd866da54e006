"""The echo client: our own dial and transport, played against the fuzzing server case by case."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from kalshi_feed.connection.dial import dial
from kalshi_feed.connection.read_ahead import BINARY
from kalshi_feed.connection.transport import Transport
from kalshi_feed.connection.url import parse_url
from kalshi_feed.connection.wakeup import Wakeup, wait_ready
from kalshi_feed.errors import ConnectionLost

__all__ = ["AGENT", "EchoTransport", "FuzzingClient"]

AGENT: Final = "kalshi_feed"
DIAL_SECONDS: Final = 10.0
CASE_SECONDS: Final = 30.0  # the longest case takes some seconds
MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024


class EchoTransport(Transport):
    """The real transport, except that binary messages are kept instead of ignored. Owned by the thread that
    dialed."""

    _slow_frames_per_read = (
        1  # a message is echoed before the bytes behind it are looked at, since they may break the protocol
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.binary: list[bytes] = []

    def _take_binary(self, payload: bytes) -> None:
        super()._take_binary(payload)
        self.binary.append(payload)

    def echo(self, now: float) -> list[bytes]:
        """Take one turn: echo what has come, and return the text messages. Raises ConnectionLost."""
        self.flush(now)
        messages = self.read(now)
        for message in messages:
            self.send_text(message)
        for message in self.binary:
            self._send(message, BINARY)
        self.binary.clear()
        self.flush(time.monotonic())
        return messages


class FuzzingClient:
    """Plays cases. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self._url = url

    def count(self) -> int:
        """How many cases the server has selected."""
        messages: list[bytes] = []
        self._run("/getCaseCount", messages.extend)
        return int(messages[0])

    def play(self, number: int) -> None:
        """Play one case, counted from 1. Raises TimeoutError if it does not end."""
        self._run(f"/runCase?case={number}&agent={AGENT}", lambda messages: None)

    def write_reports(self) -> None:
        """Have the server write its reports."""
        self._run(f"/updateReports?agent={AGENT}", lambda messages: None)

    def _run(self, target: str, take: Callable[[list[bytes]], None]) -> None:
        """Connect and echo until the connection ends."""
        wakeup = Wakeup()
        try:
            transport = dial(
                parse_url(self._url + target),
                dict,
                ssl_context=None,
                proxy=None,
                deadline=time.monotonic() + DIAL_SECONDS,
                wakeup=wakeup,
                cancelled=lambda: False,
                max_message_size=MAX_MESSAGE_BYTES,
                idle_timeout=CASE_SECONDS,
                compression=True,
                transport=EchoTransport,
            )
        finally:
            wakeup.close()
        deadline = time.monotonic() + CASE_SECONDS
        try:
            while time.monotonic() < deadline:
                if not transport.has_more:
                    wait_ready(
                        transport.fileno(),
                        None,
                        write=transport.wants_write,
                        timeout=deadline - time.monotonic(),
                    )
                take(transport.echo(time.monotonic()))
        except ConnectionLost:
            return
        finally:
            transport.abort()
        raise TimeoutError(f"{target} did not end within {CASE_SECONDS:.0f} s")
