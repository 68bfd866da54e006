"""Host name to addresses, in a way that can be given up.

``getaddrinfo`` cannot be interrupted, so it runs in a short-lived daemon thread that nobody waits for when
the dial is cancelled or out of time (N05). Owns the lookup; must not import anything of the package.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
from collections.abc import Callable
from typing import Any

from ..threads import ServiceThread

__all__ = ["Address", "Lookup", "literal_address"]

Address = tuple[int, Any]  # family, and what connect() takes for it


def literal_address(host: str, port: int) -> Address | None:
    """The address when ``host`` is one already: nothing to look up."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    if version == 4:
        return socket.AF_INET, (host, port)
    if "%" in host:  # a scope, whose number the system knows
        return None
    return socket.AF_INET6, (host, port, 0, 0)


class Lookup:
    """One lookup in a thread of its own; ``done`` is called there when ``result`` is set. Thread-safe by that
    one assignment.

    ``result`` is None, then the addresses (families alternating, so that one dead family costs one try) or
    the exception.
    """

    def __init__(self, host: str, port: int, done: Callable[[], None]) -> None:
        self.result: list[Address] | Exception | None = None
        self._host, self._port, self._done = host, port, done

    def start(self) -> None:
        """Raises RuntimeError when the system gives no thread."""
        ServiceThread(target=self._run, name="kalshi-feed-resolver", daemon=True).start()

    def _run(self) -> None:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self.result = _alternate([(int(family), address) for family, _, _, _, address in found])
        except Exception as error:  # also UnicodeError for a label that is too long
            self.result = error
        self._done()


def _alternate(addresses: list[Address]) -> list[Address]:
    families = dict.fromkeys(family for family, _ in addresses)
    columns = [[address for address in addresses if address[0] == family] for family in families]
    return [address for row in itertools.zip_longest(*columns) for address in row if address is not None]
