"""How a connection is received: its upgrade request is let in or refused, its commands are answered.

Owns the record of handshakes and commands, and the answers that a test has scripted for the next ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import commands as command_reading
from .accounts import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, Account
from .commands import TERMINAL
from .connection import Connection, Refusal
from .core import Core
from .listing import Listing
from .references import References
from .reordering import PendingCommand, reordered, touched_by
from .rest_service import RestService
from .session import ServerSession
from .subscriptions import SEQUENCED
from .wire import encode_json

PATH = "/trade-api/ws/v2"


@dataclass(frozen=True)
class Handshake:
    """One upgrade request that the exchange has answered. The signature itself is not kept."""

    path: str
    headers: Mapping[str, str]  # by upper-case name, without the signature
    api_key_id: str
    timestamp_ms: str  # the header as it was sent
    signature_sha256: str  # "" if there was no signature
    status: int  # 101, or the status it was refused with


@dataclass
class _Answer:
    """How the next commands of a kind are answered: with an error, or (code None) not at all."""

    cmd: str | None  # None: a command of any kind
    code: int | None
    text: str | None
    remaining: int | None  # None: without end


class Reception:
    """The ``Hub`` of every connection. Thread-safe; the methods of the last group need the exchange's lock
    held."""

    def __init__(
        self,
        core: Core,
        listing: Listing,
        references: References,
        account: Account,
        rest_service: RestService,
    ) -> None:
        self.settings = core.settings
        self.lock = core.lock
        self.now_us = core.now_us
        self.opened = core.opened
        self.ended = core.ended
        self.answer = rest_service.answer
        self.find_market = listing.find
        self.find_market_by_id = listing.find_by_id
        self.reference_names = references.names_locked
        self._core = core
        self._account = account
        self._rest_service = rest_service
        self._commands: list[dict[str, Any]] = []
        self._handshakes: list[Handshake] = []
        self._rejections: list[Refusal] = []  # for the next upgrade requests
        self._answers: list[_Answer] = []  # for the next commands
        # by channel, the errors that end its next subscriptions before their ``subscribed``
        self._early_ends: dict[str, list[int]] = {}

    # -- what a test scripts ---------------------------------------------------------------------------------
    def reject_next(
        self, n: int = 1, status: int = 503, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Answer the next ``n`` upgrade requests with this instead. Calls add up, in order."""
        with self.lock:
            self._rejections.extend(Refusal(status, dict(headers or {}), body) for _ in range(n))

    def refuse_commands(
        self, code: int, msg: str | None = None, cmd: str | None = None, n: int | None = 1
    ) -> None:
        """Answer the next ``n`` commands (of one kind; n=None: all) with this error."""
        with self.lock:
            self._answers.append(_Answer(cmd, code, msg, n))

    def ignore_commands(self, cmd: str | None = None, n: int | None = 1) -> None:
        """Neither answer nor carry out the next ``n`` commands (of one kind; n=None: all)."""
        with self.lock:
            self._answers.append(_Answer(cmd, None, None, n))

    def end_before_subscribed(self, channel: str, code: int = 25, n: int = 1) -> None:
        """End the channel's next ``n`` subscriptions (on any connection) before they are confirmed: first
        comes the error with the sid, then a ``subscribed`` for what is already dead.

        ``code``: 10, 17 or 25. Raises ValueError for another code or an unknown channel.
        """
        if channel not in SEQUENCED:
            raise ValueError(f"unknown channel {channel!r}")
        if code not in TERMINAL:
            known = ", ".join(map(str, sorted(TERMINAL)))
            raise ValueError(f"error {code} does not end a subscription: use one of {known}")
        with self.lock:
            self._early_ends.setdefault(channel, []).extend([code] * n)

    # -- what a test looks at --------------------------------------------------------------------------------
    @property
    def commands(self) -> list[dict[str, Any]]:
        """Every command received, in order, with ``connection`` (its index); one that is not a JSON object is
        under ``raw``."""
        with self.lock:
            return list(self._commands)

    @property
    def handshakes(self) -> list[Handshake]:
        """Every upgrade request answered, in order."""
        with self.lock:
            return list(self._handshakes)

    def forget(self) -> None:
        """Drop the commands, handshakes and REST requests recorded so far, which would fill the memory in a
        run of hours."""
        with self.lock:
            self._rest_service.forget_locked()
            self._commands.clear()
            self._handshakes.clear()

    def wait_for_command(self, cmd: str, timeout: float = 5.0, *, n: int = 1) -> dict[str, Any]:
        """Wait until ``n`` commands of a kind have ever arrived, and return the n-th. Raises TimeoutError."""

        def found() -> list[dict[str, Any]]:
            return [command for command in self._commands if command.get("cmd") == cmd]

        self._core.wait_for(lambda: len(found()) >= n, timeout, f"command {n} of kind {cmd!r}")
        with self.lock:
            return found()[n - 1]

    def wait_for_handshakes(self, n: int, timeout: float = 5.0) -> list[Handshake]:
        """Wait until at least ``n`` upgrade requests have been answered, and return them all. Raises
        TimeoutError."""
        self._core.wait_for(lambda: len(self._handshakes) >= n, timeout, f"{n} handshakes")
        return self.handshakes

    # -- what a connection asks, without the lock ------------------------------------------------------------
    def admit(self, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why an upgrade request is refused, or None if it is let in."""
        with self.lock:
            if self._rejections:
                return self._rejections.pop(0)
        path = path.partition("?")[0]
        if path != PATH:
            return Refusal(404, body=b"404 page not found\n")
        now_ms, skew_ms = self.now_us() // 1000, self.settings.max_clock_skew * 1000
        details = self._account.refusal(headers, path, now_ms, skew_ms)
        if details is not None:
            body = encode_json({"code": "authentication_error", "details": details})
            return Refusal(401, {"Content-Type": "application/json"}, body)
        if "ORIGIN" in headers:
            return Refusal(403, {"Sec-Websocket-Version": "13"}, b"Forbidden\n")
        return None

    def handshaken(self, path: str, headers: Mapping[str, str], status: int) -> None:
        """Record an upgrade request that was answered."""
        signature = headers.get(SIGNATURE_HEADER, "")
        record = Handshake(
            path,
            {name: value for name, value in headers.items() if name != SIGNATURE_HEADER},
            headers.get(KEY_HEADER, ""),
            headers.get(TIMESTAMP_HEADER, ""),
            hashlib.sha256(signature.encode()).hexdigest() if signature else "",
            status,
        )
        with self._core.changed:
            self._handshakes.append(record)
            self._core.changed.notify_all()

    def received(self, connection: Connection, payloads: Sequence[bytes]) -> None:
        """Carry out and answer a client's commands that arrived together."""
        with self._core.step():
            if connection.deaf:
                connection.unheard += payloads
            else:
                self._take(connection, payloads)

    # -- with the lock ---------------------------------------------------------------------------------------
    def drained(self, connection: Connection) -> None:
        """A connection has nothing more to send."""
        self._core.changed.notify_all()

    def early_end(self, channel: str) -> int | None:
        """The error that ends the channel's next subscription at once, if one is scripted."""
        codes = self._early_ends.get(channel)
        return codes.pop(0) if codes else None

    def set_state_locked(self, connection: Connection, *, muted: bool, deaf: bool) -> None:
        """Mute or deafen a connection, or end that; what it did not hear is then carried out."""
        connection.set_state(muted=muted, deaf=deaf)
        if not deaf:
            unheard, connection.unheard = connection.unheard, []
            self._take(connection, unheard)

    def behave_locked(self) -> None:
        """Drop every scripted answer."""
        self._rest_service.behave_locked()
        self._rejections.clear()
        self._answers.clear()
        self._early_ends.clear()

    def _take(self, connection: Connection, payloads: Sequence[bytes]) -> None:
        pending = [self._pending(connection, payload) for payload in payloads]
        in_order = self.settings.quirks.answers_in_order
        for item in pending if in_order else reordered(pending, connection.chance):
            item.carry_out()
        self._core.changed.notify_all()

    def _pending(self, connection: Connection, payload: bytes) -> PendingCommand:
        """A command and what will be done about it. Which ones are refused or ignored depends on the order
        they arrived in."""
        command, session = command_reading.parse(payload), connection.session
        if command is None:
            text = payload.decode("utf-8", "replace")
            self._commands.append({"cmd": None, "raw": text, "connection": connection.index})
            return PendingCommand({}, lambda: session.error(1))
        self._commands.append({**command, "connection": connection.index})
        answer = self._scripted(command)
        if answer is None:
            return PendingCommand(
                touched_by(command, session.subscriptions), lambda: session.command(command)
            )
        return PendingCommand({}, lambda: _give(session, answer, command))

    def _scripted(self, command: dict[str, Any]) -> _Answer | None:
        """The answer that a test has scripted for this command."""
        for answer in self._answers:
            if answer.cmd in (None, command.get("cmd")):
                if answer.remaining is not None:
                    answer.remaining -= 1
                    if answer.remaining <= 0:
                        self._answers.remove(answer)
                return answer
        return None


def _give(session: ServerSession, answer: _Answer, command: dict[str, Any]) -> None:
    if answer.code is not None:
        id_ = command.get("id")
        session.error(answer.code, answer.text, id_ if isinstance(id_, int) and id_ else None)
