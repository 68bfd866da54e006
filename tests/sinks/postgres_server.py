"""A PostgreSQL server for the tests: on loopback, with a password, in a folder that is removed with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import wait_until

PASSWORD = "hunter2 is/not@enough"
USER = "keeper"


def program(name: str) -> str | None:
    """Find a program of PostgreSQL; Debian keeps them in a folder for each version, off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return shutil.which(name) or (str(places[-1]) if places else None)


class PostgresServer:
    """One cluster. initdb and postgres refuse to run as root, so then the user is postgres or nobody."""

    def __init__(self) -> None:
        self._initdb, self._postgres = program("initdb"), program("postgres")
        if self._initdb is None or self._postgres is None:
            pytest.skip(
                "no PostgreSQL server is installed here (Debian's package is 'postgresql'): its sink is not "
                "tried"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="kalshi-postgres-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = _account()
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"
        word = self.folder / "password"
        word.write_text(PASSWORD, encoding="utf-8")
        word.chmod(0o644)
        words = (
            "-D",
            str(self._data),
            "-U",
            USER,
            f"--pwfile={word}",
            "--auth=scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
        )
        subprocess.run(
            [self._initdb, *words, "--no-sync"],
            check=True,
            capture_output=True,
            timeout=120,
            cwd="/",
            **self._as,
        )
        self.start()

    def address(self, port: int | None = None, password: str = PASSWORD, options: str = "") -> str:
        quoted = password.replace(" ", "%20").replace("/", "%2F").replace("@", "%40")
        return f"postgresql://{USER}:{quoted}@127.0.0.1:{port or self.port}/postgres?sslmode=disable{options}"

    def start(self) -> None:
        """Start it and wait until it answers; after a kill, its old processes have to be gone first."""
        assert self._postgres is not None
        words = (
            "-D",
            str(self._data),
            "-p",
            str(self.port),
            "-k",
            str(self.folder),
            "-h",
            "127.0.0.1",
            "-c",
            "max_connections=30",
        )

        def is_up() -> bool:
            assert self._postgres is not None
            if self._process is None or self._process.poll() is not None:
                with open(self.folder / "log", "ab") as log:
                    self._process = subprocess.Popen(
                        [self._postgres, *words], stdout=log, stderr=log, cwd="/", **self._as
                    )
            with contextlib.suppress(Exception):
                self.ask("select 1")
                return True
            return False

        wait_until(is_up, 60, f"the server (its log is {self.folder / 'log'})")

    def kill(self) -> None:
        """kill -9 the server and all of its processes."""
        assert self._process is not None
        workers = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        self._process.send_signal(signal.SIGKILL)
        for pid in workers.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self._process.wait(20)

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the server's answer, over a connection of its own."""
        psycopg = pytest.importorskip(
            "psycopg", reason="psycopg is not installed: the PostgreSQL sink is not tried"
        )
        with psycopg.connect(self.address(), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # "immediate"
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    """Return a port that the system never gives to a client while the server is down: one below 32768."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'")


class CutAtCommit:
    """A proxy in front of the server that loses the answer to one COMMIT.

    Once ``armed``, it passes the next COMMIT on, waits until the server has done it, and cuts the connection
    without the answer: the client cannot know whether the transaction was committed.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.armed = False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                held = threading.Event()
                for source, to in ((client, server), (server, client)):
                    thread = threading.Thread(
                        target=self._pass, args=(source, to, held, source is client), daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, source: socket.socket, to: socket.socket, held: threading.Event, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client and self.armed and b"COMMIT" in data:
                    self.armed = False
                    held.set()
                if not is_client and held.is_set() and b"COMMIT" in data:  # CommandComplete: it is done
                    self.cuts += 1
                    break
                to.sendall(data)
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in self._sockets:
            one.close()


def running_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()
