"""Real Redis servers for the tests: on loopback, each in a folder of its own that is removed with it.

A server ends with its test, even if the test's process is killed: a small shell waits for the end of a pipe
whose other end this process holds, and then ends the server and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kalshi_feed.simulator.certificates import Certificates
from tests.support import wait_until

__all__ = ["Cluster", "RedisServer", "free_port", "program"]

VARIABLE: Final = "KALSHI_TEST_REDIS"
"""The environment variable that names another server to test with: a path, or a name like valkey-server."""

_STARTS_WITHIN: Final = 20.0
_WATCH: Final = 'read line; kill -9 "$0"; rm -rf "$1"'
_ADMIN, _ADMIN_PASSWORD = "the-test", "only-for-the-test"


def program() -> str:
    """Return the path of the server to test with. Skips the test if there is none."""
    name = os.environ.get(VARIABLE) or "redis-server"
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here (Debian's package is 'redis-server'): no relay is tried")
    return found


def free_port() -> int:
    """Return a port that the system never gives to a client while the server is down: one below 32768. The
    port 10,000 above is free, too: a node of a cluster talks to the others there."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as sock, socket.socket() as bus, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port


class RedisServer:
    """One server. A context manager that starts and removes it. For one thread at a time.

    ``password``: of the default user. ``users``: rules of more users, by name, as ACL SETUSER takes them
    (">password ~* +@all"); "default" may be among them. ``tls``: the certificates for a server that speaks
    TLS only. ``durable``: what it has acknowledged survives kill -9. ``unix``: it has a unix socket instead
    of a port. ``maxmemory``: in bytes, or like "8mb". ``options``: more lines of its configuration.
    """

    def __init__(
        self,
        *,
        password: str | None = None,
        users: Mapping[str, str] | None = None,
        tls: Certificates | None = None,
        durable: bool = False,
        unix: bool = False,
        maxmemory: int | str | None = None,
        options: Iterable[str] = (),
    ) -> None:
        self._program = program()
        self.folder = Path(tempfile.mkdtemp(prefix="kalshi-redis-"))
        self.port = 0 if unix else free_port()
        self.socket = self.folder / "socket"
        self.log = self.folder / "log"
        self.password = password
        self.users = dict(users or {})
        self.tls = tls
        self.durable = durable
        self.maxmemory = maxmemory
        self.options = list(options)
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    # -- how to reach it -------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Its address, without user and password."""
        return self.address()

    def address(
        self, user: str = "", password: str = "", *, port: int | None = None, host: str = "127.0.0.1"
    ) -> str:
        """Return its url; with a ``port``, that of a proxy in front of it."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
        if not self.port:
            return f"unix://{login}{self.socket}"
        return f"{'rediss' if self.tls else 'redis'}://{login}{host}:{port or self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """Return a client that may do everything, for the test itself. It repeats nothing. Closed with the
        server."""
        once = Retry(NoBackoff(), 0)
        options = {
            "username": _ADMIN,
            "password": _ADMIN_PASSWORD,
            "socket_timeout": 30,
            "retry": once,
            **options,
        }
        if not self.port:
            client = redis.Redis(unix_socket_path=str(self.socket), **options)
        else:
            if self.tls is not None:
                options |= {"ssl": True, "ssl_ca_data": self.tls.ca_pem.decode()}
            client = redis.Redis("127.0.0.1", self.port, **options)
        self._clients.append(client)
        return client

    # -- what happens to it ----------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id of the server, which must have been started."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there (frozen or not)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it with the data that it has kept, if it is not running, and wait until it answers."""
        if self.is_running:
            return
        self._data.mkdir(exist_ok=True)
        config = self.folder / "redis.conf"
        config.write_text("\n".join(self._config()) + "\n", encoding="utf-8")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, str(self._process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C ends the test, and the shell still has to do its work
        )
        client = self.client()

        def is_up() -> bool:
            assert self.is_running, self.log.read_text(errors="replace")
            with socket.socket(socket.AF_INET if self.port else socket.AF_UNIX) as sock:
                if sock.connect_ex(("127.0.0.1", self.port) if self.port else str(self.socket)):
                    return False
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):  # LOADING is among them
                return bool(client.ping())
            return False

        wait_until(is_up, _STARTS_WITHIN, f"the server (its log is {self.log})")

    def stop(self) -> None:
        """End it in good order; with ``durable``, it has its data after the next start()."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and new ones are accepted (by the kernel), but nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def forget(self) -> None:
        """Remove all data from the disk of a server that is not running."""
        assert not self.is_running
        shutil.rmtree(self._data, ignore_errors=True)

    def restart(self, *, with_data: bool | None = None) -> None:
        """kill -9 and start it again. ``with_data``: from now on, whether it keeps its data (``durable``);
        a server that was not durable before has none to keep."""
        if with_data is not None:
            self.durable = with_data
        self.kill()
        if not self.durable:
            self.forget()
        self.start()

    def remove(self) -> None:
        """Kill it, and remove its folder."""
        for client in self._clients:
            client.connection_pool.disconnect()  # what close() of redis-py 5.0 does not do
        self._clients.clear()
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what it has -----------------------------------------------------------------------------------------

    def set_user(self, name: str, rules: str) -> None:
        """Add or replace a user, now and for later starts; see ``users``. Open connections of a removed
        right stay open, but are refused what the user may no longer do."""
        self.users[name] = rules
        self.client().execute_command("ACL", "SETUSER", name, "reset", "on", *rules.split())

    def everything(self) -> dict[bytes, Any]:
        """Return the value of every key, whatever its type."""
        client = self.client()
        read: dict[bytes, Any] = {
            b"string": client.get,
            b"stream": client.xrange,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"hash": client.hgetall,
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
        }
        return {key: read[client.type(key)](key) for key in client.scan_iter(count=1000)}

    def _config(self) -> list[str]:
        users = {"default": f"{'>' + self.password if self.password else 'nopass'} ~* &* +@all", **self.users}
        lines = [
            "bind 127.0.0.1",
            f"dir {self._data}",
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync always",
            f"user {_ADMIN} on >{_ADMIN_PASSWORD} ~* &* +@all",
            *(f"user {name} on {rules}" for name, rules in users.items()),
        ]
        if not self.port:
            lines += ["port 0", f"unixsocket {self.socket}", "unixsocketperm 700"]
        elif self.tls is None:
            lines.append(f"port {self.port}")
        else:
            for name, content in (("server.pem", self.tls.server_pem), ("ca.pem", self.tls.ca_pem)):
                (self.folder / name).write_bytes(content)
            lines += [
                "port 0",
                f"tls-port {self.port}",
                "tls-auth-clients no",
                f"tls-cert-file {self.folder / 'server.pem'}",
                f"tls-key-file {self.folder / 'server.pem'}",
                f"tls-ca-cert-file {self.folder / 'ca.pem'}",
            ]
        if self.maxmemory is not None:
            lines += [f"maxmemory {self.maxmemory}", "maxmemory-policy noeviction"]
        return lines + self.options

    def _end(self, how: signal.Signals) -> None:
        process, watchdog = self._process, self._watchdog
        if process is None or watchdog is None or watchdog.stdin is None:
            return
        if process.returncode is None:  # not reaped yet: the id still belongs to it
            process.send_signal(how)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
        watchdog.kill()  # before the server's id may be given to another process
        watchdog.wait(10)
        watchdog.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        self._process = self._watchdog = None


class Cluster:
    """A Redis Cluster of three masters, of which the first ``replicas`` have a replica each. A context
    manager. For one thread at a time.

    ``nodes`` are the masters, then the replicas; ``options`` are RedisServer's, for every node.
    """

    def __init__(self, *, replicas: int = 0, **options: Any) -> None:
        more = [
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            "cluster-node-timeout 1000",
            "cluster-announce-ip 127.0.0.1",
            "cluster-require-full-coverage no",
            "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
            *options.pop("options", ()),
        ]
        self.nodes = [RedisServer(**options, options=more) for _ in range(3 + replicas)]
        for node in self.nodes:
            # the replicas need a user for their masters
            node.options += [f"masteruser {_ADMIN}", f"masterauth {_ADMIN_PASSWORD}"]
        self._replicas = replicas

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def url(self) -> str:
        """The address of the first node."""
        return self.nodes[0].url

    def start(self) -> None:
        """Start the nodes, and make them a cluster."""
        for node in self.nodes:
            node.start()
        bounds = [0, 5461, 10_923, 16_384]
        first = self.nodes[0]
        for index, node in enumerate(self.nodes):
            client = node.client()
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < 3:
                client.execute_command("CLUSTER", "ADDSLOTS", *range(bounds[index], bounds[index + 1]))
            if index:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)
        wait_until(self._is_complete, _STARTS_WITHIN, "the cluster's nodes to know each other")
        for master, replica in zip(self.nodes, self.nodes[3:], strict=False):
            replica.client().execute_command("CLUSTER", "REPLICATE", self._id(master))
        for replica in self.nodes[3:]:
            client = replica.client()
            wait_until(
                lambda client=client: client.info("replication").get("master_link_status") == "up",
                _STARTS_WITHIN,
                "a replica to have its master's data",
            )
        wait_until(self._is_complete, _STARTS_WITHIN, "the cluster to be complete")

    def remove(self) -> None:
        """Kill and remove all nodes."""
        for node in self.nodes:
            node.remove()

    def node_of(self, key: str) -> RedisServer:
        """Return the node that has the key now, by what a node that is running says."""
        witness = next(node for node in self.nodes if node.is_running).client()
        slot = witness.execute_command("CLUSTER", "KEYSLOT", key)
        for first, last, master, *_ in witness.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise LookupError(f"no node has the slot {slot} of {key}")

    def move(self, key: str, to: RedisServer) -> None:
        """Move the key's slot, with everything in it, to another master: from then on there is MOVED."""
        source = self.node_of(key)
        old, new = source.client(), to.client()
        slot = new.execute_command("CLUSTER", "KEYSLOT", key)
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(to))
        while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            login = ("AUTH2", _ADMIN, _ADMIN_PASSWORD)
            old.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, *login, "KEYS", *keys)
        for node in (to, source, *self.nodes[:3]):
            if node.is_running:
                node.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", self._id(to))

    def _id(self, node: RedisServer) -> bytes:
        found: bytes = node.client().execute_command("CLUSTER", "MYID")
        return found

    def _is_complete(self) -> bool:
        wanted = {"cluster_state": "ok", "cluster_known_nodes": str(len(self.nodes)), "cluster_size": "3"}
        for node in self.nodes:
            lines = node.client().execute_command("CLUSTER", "INFO").decode().split("\r\n")
            if any(f"{name}:{value}" not in lines for name, value in wanted.items()):
                return False
        return True
