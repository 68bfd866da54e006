"""What the feed is compared with: the least a Python client can do, and websocket-client as its documentation
shows it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from struct import Struct
from urllib.parse import urlsplit

from tests.benchmarks.orders import Clock, Orders


def _connected(orders: Orders) -> tuple[socket.socket, bytes]:
    """A socket after the upgrade and a subscribe command, and the bytes that came with the answer to the
    upgrade."""
    address = urlsplit(orders.url)
    sock = socket.create_connection((address.hostname or "", address.port or 0))
    if orders.ca:
        sock = ssl.create_default_context(cafile=orders.ca).wrap_socket(
            sock, server_hostname=address.hostname
        )
    sock.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65_536)
    command = orders.command()
    sock.sendall(b"\x81\xff" + len(command).to_bytes(8, "big") + b"\0\0\0\0" + command)
    return sock, data.partition(b"\r\n\r\n")[2]


def _marks(orders: Orders) -> tuple[int, int, int]:
    """How many frames have arrived at the three moments of the Clock."""
    subscribed = len(orders.channels)
    begin = subscribed + orders.markets + 1
    return subscribed, begin, begin + orders.want


def floor(orders: Orders) -> dict[str, float]:
    """Large reads, frames cut out of them, orjson.loads; ignores the parsed messages."""
    import orjson

    loads: Callable[[bytes], object] = orjson.loads
    unpack = Struct(">HH").unpack_from
    sock, data = _connected(orders)
    clock, at, seen = Clock(), 0, 0
    with sock:
        for until in _marks(orders):
            while seen < until:
                end = len(data)
                while seen < until and at + 4 <= end:
                    head, length = unpack(data, at)
                    start = at + 4
                    if head != 0x817E:
                        head &= 0x7F
                        length, start = (
                            (head, at + 2)
                            if head < 126
                            else (int.from_bytes(data[at + 2 : at + 10], "big"), at + 10)
                        )
                    if start + length > end:
                        break
                    at = start + length
                    loads(data[start:at])
                    seen += 1
                if seen < until:
                    data, at = data[at:] + sock.recv(262_144), 0
            clock.mark()
    return clock.figures()


def websocket_client(orders: Orders) -> dict[str, float]:
    """recv() and json.loads, nothing else."""
    import websocket

    ws = websocket.create_connection(orders.url, sslopt={"ca_certs": orders.ca} if orders.ca else None)
    ws.send(orders.command())
    clock, seen = Clock(), 0
    for until in _marks(orders):
        while seen < until:
            json.loads(ws.recv())
            seen += 1
        clock.mark()
    ws.sock.close()  # in the middle of the stream: no close frame
    return clock.figures()
