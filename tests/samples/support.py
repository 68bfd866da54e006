"""Running the samples as their readers do: a process of its own."""

from __future__ import annotations

import socket
import subprocess

from tests.cli.support import PYTHON, TOP, Access, environment, started

__all__ = ["SAMPLES", "free_port", "sample", "started", "with_access"]

SAMPLES = TOP / "samples"


def with_access(access: Access) -> dict[str, str]:
    """The environment that leads a sample to an exchange of the tests."""
    return access.environ | {"KALSHI_URL": access.exchange.url, "KALSHI_CA_FILE": str(access.ca_file)}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def sample(name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a sample to its end, in the present folder."""
    return subprocess.run(
        [PYTHON, "-W", "error", str(SAMPLES / name), *arguments],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
