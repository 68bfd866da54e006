"""A raw client for the tests of the simulator: signs by hand, speaks JSON, waits with deadlines."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any

import websocket
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from kalshi_feed.simulator import Exchange

PATH = "/trade-api/ws/v2"
DEADLINE = 5.0


def sign(pem: bytes, text: str) -> str:
    key = serialization.load_pem_private_key(pem, None)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return base64.b64encode(key.sign(text.encode())).decode()
    assert isinstance(key, rsa.RSAPrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return base64.b64encode(key.sign(text.encode(), pss, hashes.SHA256())).decode()


def headers(exchange: Exchange, *, now_ms: int | None = None, path: str = PATH) -> dict[str, str]:
    timestamp = str(int(time.time() * 1000) if now_ms is None else now_ms)
    return {
        "KALSHI-ACCESS-KEY": exchange.api_key_id,
        "KALSHI-ACCESS-TIMESTAMP": timestamp,
        "KALSHI-ACCESS-SIGNATURE": sign(exchange.private_key_pem, f"{timestamp}GET{path}"),
    }


def wait_until(predicate: Callable[[], object], timeout: float = DEADLINE) -> None:
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, f"timed out after {timeout} s waiting for the condition"
        time.sleep(0.002)


class Closed(Exception):
    """The exchange has ended the connection: the code and reason of its close frame, None without one."""

    def __init__(self, code: int | None = None, reason: str | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Refused(Exception):
    """The upgrade was answered with a status other than 101."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.headers = headers
        self.body = body


class Peer:
    """One raw connection; a context manager. Used by one thread at a time."""

    def __init__(self, exchange: Exchange, signed: Mapping[str, str] | None = None, **options: Any) -> None:
        self._url: str = options.pop("url", exchange.url)
        self._signed = dict(headers(exchange) if signed is None else signed)
        self._sslopt = {
            "suppress_ragged_eofs": False,
            "context": options.pop("ssl", None) or exchange.ssl_context,
        }
        self._options: dict[str, Any] = {"suppress_origin": True, **options}
        self._id = 0
        self._buffer = bytearray()

    def __enter__(self) -> Peer:
        try:
            self.ws = websocket.create_connection(
                self._url,
                header=self._signed,
                sslopt=self._sslopt,
                timeout=DEADLINE,
                redirect_limit=0,
                **self._options,
            )
        except websocket.WebSocketBadStatusException as error:
            raise Refused(error.status_code, error.resp_headers or {}, error.resp_body or b"") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.ws.close(timeout=1)
        except OSError:
            pass  # the exchange was faster
        finally:
            self.shutdown()  # close() leaves the socket open if the other side has closed

    def shutdown(self) -> None:
        """Close the socket without a close frame."""
        self.ws.shutdown()  # type: ignore[no-untyped-call]

    def send(self, cmd: str | None, params: Any = None, *, id_: Any = ...) -> int:
        self._id += 1
        command: dict[str, Any] = {"id": self._id if id_ is ... else id_}
        if cmd is not None:
            command["cmd"] = cmd
        if params is not None:
            command["params"] = params
        self.ws.send(json.dumps(command))
        return self._id

    def _bytes(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            assert self.ws.sock is not None
            self.ws.sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.ws.sock.recv(65536)
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed from error
            if not data:
                raise Closed
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return bytes(taken)

    def text(self, timeout: float = DEADLINE) -> str:
        """The next text message (pings are answered on the way). Raises TimeoutError, Closed.

        Reads frames by itself after the handshake: for thousands of messages, websocket-client takes ten
        times as long.
        """
        deadline = time.monotonic() + timeout
        while True:
            first, size = self._bytes(2, deadline)
            assert first & 0xF0 == 0x80 and size < 128, "the exchange sends whole, unmasked frames"
            if size > 125:
                size = int.from_bytes(self._bytes(2 if size == 126 else 8, deadline), "big")
            data = self._bytes(size, deadline)
            if first == 0x89:
                self.ws.pong(data)
            elif first == 0x88:
                raise Closed(int.from_bytes(data[:2], "big") if data else None, data[2:].decode())
            elif first == 0x81:
                return data.decode()

    def recv(self, timeout: float = DEADLINE) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.text(timeout))
        return message

    def until_closed(self) -> Closed:
        """Read to the end of the connection; returns how the exchange ended it."""
        while True:
            try:
                self.text()
            except Closed as closed:
                return closed

    def ask(self, cmd: str | None, params: Any = None, *, id_: Any = ...) -> dict[str, Any]:
        self.send(cmd, params, id_=id_)
        return self.recv()

    def error(self, cmd: str | None, params: Any = None, *, id_: Any = ...) -> int:
        """Send a command; returns the code of the error that answers it."""
        reply = self.ask(cmd, params, id_=id_)
        assert reply["type"] == "error", reply
        code: int = reply["msg"]["code"]
        return code

    def take(self, n: int) -> list[dict[str, Any]]:
        return [self.recv() for _ in range(n)]

    def update(self, sid: int, action: str, *tickers: str, **more: Any) -> int:
        return self.send(
            "update_subscription", {"sid": sid, "action": action, "market_tickers": list(tickers), **more}
        )

    def subscribe(self, *channels: str, tickers: tuple[str, ...] = (), **more: Any) -> list[dict[str, Any]]:
        """Subscribe; returns all the answers, including the snapshots."""
        params: dict[str, Any] = {"channels": list(channels), **more}
        if tickers:
            params["market_tickers"] = list(tickers)
        self.send("subscribe", params)
        extra = len(tickers) if "orderbook_delta" in channels else 0
        extra += len(tickers) if more.get("send_initial_snapshot") and "ticker" in channels else 0
        return self.take(len(channels) + extra)

    def barrier(self) -> list[dict[str, Any]]:
        """Everything that arrives before the answer to a list_subscriptions sent now."""
        id_ = self.send("list_subscriptions")
        messages: list[dict[str, Any]] = []
        while True:
            message = self.recv()
            if message.get("id") == id_ and isinstance(message.get("msg"), list):
                return messages
            messages.append(message)


class Fold:
    """An independent book: plain dicts of Decimals. It is fed with messages and checks seq."""

    def __init__(self, *, use_yes_price: bool = False) -> None:
        self.books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}
        self.seqs: dict[int, int] = {}
        self._turn = use_yes_price

    def price(self, side: str, text: str) -> Decimal:
        return 1 - Decimal(text) if side == "no" and self._turn else Decimal(text)

    def feed(self, message: dict[str, Any]) -> None:
        if "seq" in message:
            assert message["seq"] == self.seqs.get(message["sid"], 0) + 1, message
            self.seqs[message["sid"]] = message["seq"]
        msg = message.get("msg")
        if message["type"] == "orderbook_snapshot":
            assert isinstance(msg, dict)
            self.books[msg["market_ticker"]] = {
                side: {self.price(side, p): Decimal(q) for p, q in msg.get(f"{side}_dollars_fp", [])}
                for side in ("yes", "no")
            }
        elif message["type"] == "orderbook_delta":
            assert isinstance(msg, dict)
            side = self.books[msg["market_ticker"]][msg["side"]]
            price = self.price(msg["side"], msg["price_dollars"])
            side[price] = side.get(price, Decimal(0)) + Decimal(msg["delta_fp"])
            assert side[price] >= 0
            if not side[price]:
                del side[price]
