"""Processes: the server, the clients, which core each runs on, and the throwaway key and certificate.

Owns everything it starts: nothing outlives the Bench.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TOP = Path(__file__).parents[2]
CLIENT_SECONDS = 300


def cores() -> tuple[int, int]:
    """The cores to bind a client and a server to; -1 if there is only one, or if none can be chosen."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (usable[0], usable[-1]) if len(usable) > 1 else (-1, -1)


class Bench:
    """The processes of one section. Used by one thread, as a context manager.

    ``bound``: client and server have a core each; otherwise, the system moves their threads as it likes.
    """

    def __init__(self, *, bound: bool = False) -> None:
        self._stack = ExitStack()
        self._servers: dict[str, str] = {}
        self.client_core, self._server_core = cores() if bound else (-1, -1)

    def __enter__(self) -> Bench:
        self.folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kalshi-benchmarks-"))
        )
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        plain = serialization.NoEncryption()
        key_file = self.folder / "key.pem"
        key_file.touch(0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain
            )
        )
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            self.folder / "server.pem"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def server(self, *, tls: bool = False, **orders: Any) -> str:
        """The URL of a server with these orders, started once."""
        if tls:
            orders["cert"] = str(self.folder / "server.pem")
        text = json.dumps({**orders, "core": self._server_core}, sort_keys=True)
        if text not in self._servers:
            process = _python("tests.benchmarks.server", text, stdin=subprocess.PIPE)
            self._stack.callback(process.communicate)  # it ends with its input
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError(f"the benchmarks' server did not start: {text}")
            self._servers[text] = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/trade-api/ws/v2"
        return self._servers[text]

    def client(self, client: str, url: str, **orders: Any) -> dict[str, Any]:
        """Run a client to its end and return its measurements."""
        orders = {
            "core": self.client_core,
            **orders,
            "client": client,
            "url": url,
            "pem": str(self.folder / "key.pem"),
        }
        if url.startswith("wss"):
            orders["ca"] = str(self.folder / "ca.pem")
        process = _python("tests.benchmarks.client", json.dumps(orders))
        try:
            out, _ = process.communicate(timeout=CLIENT_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise RuntimeError(f"the client {client} failed")
        figures: dict[str, Any] = json.loads(out)
        return figures


def _python(module: str, text: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, text], cwd=TOP, stdout=subprocess.PIPE, text=True, **options
    )
