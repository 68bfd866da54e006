"""A Redis server of one's own for a while: what ``kalshi-feed demo --relay`` starts.

Owns LocalRedis. Main thread only.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from ..errors import RelayError
from ..relay.client import RedisClient
from ..relay.probe import server_version
from .errors import Failed, Misused

__all__ = ["LocalRedis"]

_PROGRAMS: Final = ("redis-server", "valkey-server")
_NONE: Final = (
    "demo --relay needs a Redis server, and there is neither redis-server nor valkey-server here. Debian and "
    "Ubuntu: sudo apt install redis-server; Fedora: sudo dnf install valkey; macOS: brew install redis"
)
# The shell ends the server and removes its folder as soon as the pipe on its standard input ends, and so also
# if this process is killed.
_KEEPER: Final = '"$@" & server=$!; read line; kill "$server"; wait "$server"; rm -rf "$0"'
_STARTS_WITHIN: Final = 10.0  # seconds
_ENDS_WITHIN: Final = 5.0
_PAUSE: Final = 0.02
_LONGEST_FOLDER: Final = 80  # characters: the path of a unix socket may have about a hundred


class LocalRedis:
    """A context manager: a server that keeps nothing on the disk and listens only on a unix socket, in a
    temporary folder that no other user can enter. Main thread only.

    Raises Misused if no server is installed, ConfigurationError if the extra redis is not, Failed if the
    server does not start.
    """

    url: str
    version: str  # "Redis 7.0.15"

    def __enter__(self) -> LocalRedis:
        program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
        if program is None:
            raise Misused(_NONE)
        folder = Path(tempfile.mkdtemp(prefix="kalshi-redis-"))
        if len(str(folder)) > _LONGEST_FOLDER:
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix="kalshi-redis-", dir="/tmp"))
        self._folder, self._log = folder, folder / "log"
        socket = folder / "socket"
        self.url = f"unix://{socket}"
        settings = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(folder),
            "logfile": str(self._log),
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, str(folder), program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for this process, which ends the server last
        )
        try:
            self.version = self._wait_until_up()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _wait_until_up(self) -> str:
        deadline = time.monotonic() + _STARTS_WITHIN
        client = RedisClient(self.url)
        with contextlib.closing(client):
            while True:
                try:
                    return server_version(client)
                except RelayError as error:
                    if time.monotonic() > deadline:
                        raise Failed(
                            f"the Redis server does not start: {self._last_words() or error}"
                        ) from error
                time.sleep(_PAUSE)

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _end(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait(_ENDS_WITHIN)
        shutil.rmtree(self._folder, ignore_errors=True)
