"""What runs between an exchange's start and its close: the listening socket and the threads.

Owns the socket and the thread that accepts connections.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator

from .connection import Connection
from .core import Core
from .movement import Generator, Movement
from .reception import Reception
from .replay import Replays
from .series import SeriesRuns

GOODBYE_SECONDS = 1.0  # for a connection to end well


class Serving:
    """One run of an exchange. Owned by the thread that starts and closes it.

    ``numbers`` counts the connections over all runs. Raises OSError if the port is taken.
    """

    def __init__(
        self,
        core: Core,
        reception: Reception,
        movement: Movement,
        address: tuple[str, int],
        context: ssl.SSLContext | None,
        numbers: Iterator[int],
    ) -> None:
        self._core = core
        self._reception = reception
        self._context = context
        self._numbers = numbers
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._wake_in, self._wake_out = socket.socketpair()
        self._closing = False
        self._generator = Generator(core, movement)
        self._thread = threading.Thread(target=self._accept, name="kalshi-exchange-accept", daemon=True)
        self._thread.start()
        self._generator.start()

    def close(self, runs: Iterable[SeriesRuns | Replays], deadline: float) -> None:
        """Accept no more, then end connections, series, replays and threads until ``deadline`` on the
        monotonic clock."""
        self._closing = True
        self._wake_out.send(b"x")
        self._thread.join()
        self._listener.close()
        self._generator.stop()
        connections = self._core.stop_connections(GOODBYE_SECONDS)
        for run in runs:
            run.stop(deadline)
        for connection in connections:
            connection.thread.join(max(0.0, deadline - time.monotonic()))
        self._generator.join(max(0.0, deadline - time.monotonic()))
        self._wake_in.close()
        self._wake_out.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_in, selectors.EVENT_READ)
            while True:
                selector.select()
                if self._closing:
                    return
                try:
                    sock, _ = self._listener.accept()
                except OSError:
                    continue  # the client has gone, or no descriptor is free: the next one may work
                connection = Connection(self._reception, sock, self._context, next(self._numbers))
                self._core.accepted(connection)
                connection.thread.start()
