"""Host name to addresses, as a lookup that can be abandoned.

``getaddrinfo`` cannot be interrupted, so it runs in a short-lived daemon thread, which is abandoned when the
dial is cancelled or times out (N05). Owns the lookup.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
from collections.abc import Callable
from typing import Any

from ..greenlets import original
from ..threads import ServiceThread

__all__ = ["Address", "Lookup", "literal_address"]

Address = tuple[int, Any]  # the family, and what connect() takes for it


def literal_address(host: str, port: int) -> Address | None:
    """The address if ``host`` already is an IP address; None if it has to be looked up."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    if version == 4:
        return socket.AF_INET, (host, port)
    if "%" in host:  # a scope (fe80::1%eth0): only the system knows its number
        return None
    return socket.AF_INET6, (host, port, 0, 0)


class Lookup:
    """One lookup in its own thread, which calls ``done`` once ``result`` is set.

    ``result`` is None at first, then the addresses (families alternating, so that a dead family costs one
    attempt) or the exception. Thread-safe: ``result`` is assigned once.
    """

    def __init__(self, host: str, port: int, done: Callable[[], None]) -> None:
        self.result: list[Address] | Exception | None = None
        self._host, self._port, self._done = host, port, done

    def start(self) -> None:
        """Start the lookup. Raises RuntimeError if the system cannot start another thread."""
        ServiceThread(self._run, "kalshi-feed-resolver", is_real=True).start()

    def _run(self) -> None:
        try:
            find = original("socket", "getaddrinfo")  # gevent's would need an event loop in this thread
            found = find(self._host, self._port, type=socket.SOCK_STREAM)
            self.result = _alternate([(int(family), address) for family, _, _, _, address in found])
        except Exception as error:  # including UnicodeError for a label that is too long
            self.result = error
        self._done()


def _alternate(addresses: list[Address]) -> list[Address]:
    families = dict.fromkeys(family for family, _ in addresses)
    columns = [[address for address in addresses if address[0] == family] for family in families]
    return [address for row in itertools.zip_longest(*columns) for address in row if address is not None]
