"""The exchange of the benchmarks: a process that answers subscribe commands, then sends frames that it
encoded beforehand.

Started by spawn.py with its orders as JSON; prints its port; serves one client after another and ends when
its standard input does. It speaks just enough of WebSocket and of the exchange's protocol, and uses no code
of kalshi_feed.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from tests.benchmarks.captured import Captured
from tests.benchmarks.frames import CLOCK_BASE, Plan, World, answers, stream, text_frame

SIDS = {"orderbook_delta": 1, "trade": 2, "ticker": 3}
SEND_BYTES = 262_144
BEGIN, END = (
    text_frame(json.dumps({"type": f"benchmark_{what}", "msg": {}}).encode()) for what in ("begin", "end")
)
PLACEHOLDER = b"9" * 19


class Orders(NamedTuple):
    """What the server must do."""

    markets: int = 100
    deltas: int = 0
    levels: int = 94
    kind: str = "deltas"
    channels: tuple[str, ...] = ("orderbook_delta",)
    rate: float = 0.0  # messages per second; 0: as fast as the client reads
    pause: float = 0.0  # seconds of silence after the client has read the snapshots
    markers: bool = True  # a frame of its own type before and after the stream
    cut: float = 0.0  # seconds after its stream until the first connection is ended; 0: never
    cert: str = ""
    core: int = -1


class Made(NamedTuple):
    """Everything a connection is sent, encoded."""

    plan: Plan
    snapshots: list[bytes]  # one for each command
    frames: list[bytes]  # joined into one, except for a paced stream


@lru_cache(maxsize=3)
def made(plan: Plan, paced: bool) -> Made:
    """Encode all of it."""
    world = Captured(plan) if plan.kind == "captured" else World(plan)
    snapshots = [answers(world, plan, index) for index in range(-(-plan.markets // plan.chunk))]
    if isinstance(world, Captured):
        frames = list(islice(world.stream(plan.last_seq()), plan.deltas))
    else:
        frames = list(stream(world, plan, clocks=paced))
    return Made(plan, snapshots, frames if paced else [b"".join(frames)])


class Gone(Exception):
    """The client closed the connection."""


class Peer:
    """One client. Owned by the main thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def read(self) -> None:
        data = self.sock.recv(SEND_BYTES)
        if not data:
            raise Gone
        self._buffer += data

    def handshake(self) -> None:
        while b"\r\n\r\n" not in self._buffer:
            self.read()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        key = next(value for name, value in fields.items() if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
            b"Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def command(self) -> dict[str, Any]:
        """The client's next text frame; skips others."""
        while True:
            while (frame := self.take_frame()) is None:
                self.read()
            opcode, payload = frame
            if opcode == 8:
                raise Gone
            if opcode in (1, 2):  # one of the other clients sends its commands in binary frames
                command: dict[str, Any] = json.loads(payload)
                return command

    def take_frame(self) -> tuple[int, bytes] | None:
        """The next frame that was read, opcode and payload; None if it is incomplete."""
        buffer, at = self._buffer, 2
        if len(buffer) < 2:
            return None
        size = buffer[1] & 127
        if size > 125:
            at += 2 if size == 126 else 8
            size = int.from_bytes(buffer[2:at], "big")
        end = at + 4 + size
        if len(buffer) < end:
            return None
        mask, body, self._buffer = buffer[at : at + 4], buffer[at + 4 : end], buffer[end:]
        padded = mask * (size // 4 + 1)
        plain = int.from_bytes(body, "big") ^ int.from_bytes(padded[:size], "big")
        return buffer[0] & 15, plain.to_bytes(size, "big")

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), SEND_BYTES):
            self.sock.sendall(view[start : start + SEND_BYTES])

    def tell(self, message: dict[str, Any]) -> None:
        self.sock.sendall(text_frame(json.dumps(message, separators=(",", ":")).encode()))

    def wait_until_read(self) -> None:
        """Wait until the client has taken everything out of the socket."""
        while struct.unpack("i", fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            time.sleep(0.001)


def subscribe(peer: Peer, orders: Orders) -> Made:
    """Answer the client's commands until everything is subscribed, and send the snapshots."""
    asked, index, missing = 0, 0, set(orders.channels)
    ready: Made | None = None
    while missing or asked < orders.markets:
        command = peer.command()
        params = command.get("params", {})
        tickers = len(params.get("market_tickers", ()))
        opened = [channel for channel in params.get("channels", ()) if channel in missing]
        # encode first: the client's clock starts with the answer
        if "orderbook_delta" in opened:
            # a client that asks for one market at a time is sent all of them at once
            chunk = tickers if tickers > 1 else orders.markets
            plan = Plan(
                orders.markets,
                orders.deltas,
                orders.levels,
                orders.kind,
                params.get("use_yes_price") is True,
                chunk,
            )
            ready = made(plan, orders.rate > 0)
        for channel in opened:
            peer.tell(
                {
                    "id": command.get("id"),
                    "type": "subscribed",
                    "msg": {"channel": channel, "sid": SIDS[channel]},
                }
            )
        missing.difference_update(opened)
        if ready is None or not ("orderbook_delta" in opened or params.get("sids") == [1]):
            continue
        if index:
            seq = ready.plan.first_seq(index)
            peer.tell(
                {
                    "id": command.get("id"),
                    "type": "ok",
                    "sid": 1,
                    "seq": seq,
                    "msg": {"market_tickers": params["market_tickers"]},
                }
            )
        peer.send(ready.snapshots[index])
        asked, index = asked + ready.plan.chunk, index + 1
    assert ready is not None
    return ready


def send_paced(peer: Peer, frames: list[bytes], rate: float) -> None:
    """Send each frame at its time, with the time of sending in it."""
    clock, sock = time.monotonic_ns, peer.sock
    split = [frame.split(PLACEHOLDER) for frame in frames]
    begin, step = clock() + 50_000_000, 1e9 / rate
    for number, (head, tail) in enumerate(split):
        due = begin + int(number * step)
        if due - clock() > 2_000_000:
            time.sleep((due - clock() - 1_000_000) / 1e9)
        while (now := clock()) < due:  # a sleep would be late by more than the latency measured
            pass
        sock.sendall(head + str(CLOCK_BASE + now).encode() + tail)


def serve(peer: Peer, orders: Orders, is_first: bool) -> None:
    """One connection from handshake to end."""
    peer.handshake()
    ready = subscribe(peer, orders)
    if orders.pause:
        peer.wait_until_read()
        time.sleep(orders.pause)
    if orders.markers:
        peer.send(BEGIN)
    if orders.rate:
        send_paced(peer, ready.frames, orders.rate)
    else:
        peer.send(ready.frames[0])
    if orders.markers:
        peer.send(END)
    if orders.cut and is_first:
        peer.wait_until_read()
        time.sleep(orders.cut)
        return
    while True:
        peer.command()  # until the client leaves


def main() -> None:
    """Serve until standard input ends."""
    given = json.loads(sys.argv[1])
    orders = Orders(**{**given, "channels": tuple(given.get("channels", Orders._field_defaults["channels"]))})
    if orders.core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {orders.core})
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    context = None
    if orders.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(orders.cert)
    for yes_price in (True, False):  # what most clients will ask for, before they connect
        made(
            Plan(
                orders.markets, orders.deltas, orders.levels, orders.kind, yes_price, min(orders.markets, 500)
            ),
            orders.rate > 0,
        )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        is_first = True
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if context is not None:
                    sock = context.wrap_socket(sock, server_side=True)
                serve(Peer(sock), orders, is_first)
            except (Gone, OSError):
                pass
            finally:
                sock.close()
                is_first = False


if __name__ == "__main__":
    main()
