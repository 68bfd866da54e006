"""Running the samples as their readers do: a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.support import TOP, Access, environment

SAMPLES = TOP / "samples"


def with_access(access: Access) -> dict[str, str]:
    """The environment that leads a sample to an exchange of the tests."""
    return access.environ | {"KALSHI_URL": access.exchange.url, "KALSHI_CA_FILE": str(access.ca_file)}


def sample(name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a sample to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(SAMPLES / name), *arguments],
        cwd=TOP,
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def started(*command: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A process with its children in a group of their own; the group is killed at the end, should it still be there."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup; children would ignore Ctrl-C as well
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=TOP,
        env=environment(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
