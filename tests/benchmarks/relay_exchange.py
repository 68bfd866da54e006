"""The exchange of the relay section: one paced stream, to all of its clients at once.

A part (see parts.py). It reports its address, then, when its clients have subscribed, that they have; the
stream begins with the order "go". Its last report says what it sent, and what the books are by then.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from typing import Any, NamedTuple

from tests.benchmarks import server
from tests.benchmarks.frames import CLOCK_BASE, Plan, World, stream
from tests.benchmarks.orders import digest
from tests.benchmarks.server import BEGIN, END, PLACEHOLDER, Gone, Made, Peer


class Orders(NamedTuple):
    """What it must do."""

    markets: int
    rate: float  # messages a second
    seconds: float  # of the stream
    bunch: int = 1  # messages that are sent at once
    clients: int = 1
    levels: int = 94

    @property
    def deltas(self) -> int:
        """How many messages the stream has."""
        return max(int(self.rate * self.seconds), 1)


def report(**what: Any) -> None:
    """Print a report."""
    print(json.dumps(what), flush=True)


def accept(listener: socket.socket, orders: Orders) -> tuple[list[Peer], Made]:
    """Take the clients in, one after another: each has all snapshots before the next one is accepted."""
    peers, ready = [], None
    asked = server.Orders(orders.markets, orders.deltas, orders.levels, rate=orders.rate)
    for _ in range(orders.clients):
        sock, _address = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock)
        peer.handshake()
        ready = server.subscribe(peer, asked)
        peers.append(peer)
    assert ready is not None
    return peers, ready


def answer_pings(peers: list[Peer], lock: threading.Lock) -> None:
    """Answer the clients' pings until they leave, so that they stay for as long as all others need. On a
    thread of its own; the lock is for sending."""
    left = list(peers)
    while left:
        for sock in select.select([peer.sock for peer in left], [], [])[0]:
            peer = next(peer for peer in left if peer.sock is sock)
            try:
                peer.read()
            except (Gone, OSError):
                left.remove(peer)
                continue
            while (frame := peer.take_frame()) is not None:
                if frame[0] == 9:
                    with lock:
                        sock.sendall(bytes((0x8A, len(frame[1]))) + frame[1])


def send(peers: list[Peer], frames: list[bytes], orders: Orders, lock: threading.Lock) -> dict[str, float]:
    """Send the stream, each bunch at its time; each message has the time of its sending in it.

    It sleeps in between, because it shares the cores with what is measured.
    """
    clock, socks = time.monotonic_ns, [peer.sock for peer in peers]
    split = [frame.split(PLACEHOLDER) for frame in frames]
    began, step, latest = clock() + 50_000_000, 1e9 / orders.rate, 0
    for first in range(0, len(split), orders.bunch):
        due = began + int(first * step)
        if (left := due - clock()) > 0:
            time.sleep(left / 1e9)
        now = clock()
        latest = max(latest, now - due)
        sent = str(CLOCK_BASE + now).encode().join
        data = b"".join([sent(parts) for parts in split[first : first + orders.bunch]])
        with lock:
            for sock in socks:
                sock.sendall(data)
    return {"seconds": (clock() - began) / 1e9, "latest_ms": latest / 1e6}


def books(plan: Plan) -> str:
    """The digest of the books after the stream."""
    world = World(plan)
    for _ in stream(world, plan):
        pass
    return digest(world.levels())


def main() -> None:
    """Serve the clients once."""
    orders = Orders(**json.loads(sys.argv[1]))
    go = threading.Event()

    def obey() -> None:
        for _ in sys.stdin:
            go.set()
        os._exit(0)

    threading.Thread(target=obey, daemon=True).start()
    plan = Plan(orders.markets, orders.deltas, orders.levels, "deltas", True, min(orders.markets, 500))
    server.made(plan, True)
    expected = books(plan)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        report(url=f"ws://127.0.0.1:{listener.getsockname()[1]}/trade-api/ws/v2")
        peers, ready = accept(listener, orders)
        assert ready.plan == plan, "the clients ask for more or fewer markets at a time than was prepared"
        report(clients=len(peers))
        lock = threading.Lock()
        threading.Thread(target=answer_pings, args=(peers, lock), daemon=True).start()
        go.wait()
        for peer in peers:
            peer.send(BEGIN)
        try:
            sent = send(peers, ready.frames, orders, lock)
            for peer in peers:
                peer.send(END)
        except OSError:  # the client has left: this part is no longer needed
            return
        report(sent=len(ready.frames), books=expected, **sent)
        threading.Event().wait()  # for the end of standard input


if __name__ == "__main__":
    main()
