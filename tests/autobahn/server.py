"""The fuzzing server: found, or installed into its own folder, and run on loopback while it is needed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["CASES", "FULL", "NotThere", "find_wstest", "run_server"]

PACKAGE: Final = "autobahntestsuite==25.10.1"  # which pins its dependencies
PLAIN: Final = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
FULL: Final = (*PLAIN, "12.*", "13.*")
# Of each kind of message and of parameters: 16, 256 and 4,096 bytes, and 8,192 in fragments, which take a
# second at most. (A pattern such as 12.*.1 would also take 12.1.10.)
CASES: Final = (
    *PLAIN,
    *(
        f"{section}.{kind}.{size}"
        for section, kinds in ((12, 5), (13, 7))
        for kind in range(1, kinds + 1)
        for size in (1, 3, 5, 11)
    ),
)
INSTALL_SECONDS: Final = 300.0
START_SECONDS: Final = 20.0

# wstest itself listens on every interface and has no option for that; this is Python 2
_ON_LOOPBACK: Final = """
import functools, site, sys
site.addsitedir(sys.argv.pop(1))  # of an installation into a folder; otherwise there is nothing in it
from autobahntestsuite import choosereactor, fuzzing, wstest
fuzzing.listenWS = functools.partial(fuzzing.listenWS, interface="127.0.0.1")
sys.argv[0] = "wstest"
sys.exit(wstest.run())
"""


class NotThere(Exception):
    """There is no fuzzing server on this machine; the message says why."""


def find_wstest() -> Path:
    """Find ``$WSTEST``, wstest on the path, or the one in the cache, which is installed there first. Raises
    NotThere."""
    named = os.environ.get("WSTEST") or shutil.which("wstest")
    if named:
        return Path(named)
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "kalshi-feed"
        / PACKAGE.replace("==", "-")
    )
    if not (cache / "bin" / "wstest").exists():
        _install(cache)
    return cache / "bin" / "wstest"


def _install(cache: Path) -> None:
    python = _python2()
    print(f"installing {PACKAGE} with {python} into {cache}", flush=True)
    unfinished = cache.with_name(f"{cache.name}.{os.getpid()}")
    options = ["-q", "--disable-pip-version-check", "--target", str(unfinished)]
    try:
        done = subprocess.run(
            [python, "-m", "pip", "install", *options, PACKAGE],
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
        if done.returncode:
            raise NotThere(f"pip could not install {PACKAGE}: {done.stderr.strip()[-500:]}")
        with contextlib.suppress(OSError):  # another process was faster
            unfinished.rename(cache)
    except subprocess.TimeoutExpired:
        raise NotThere(f"pip did not install {PACKAGE} within {INSTALL_SECONDS:.0f} s") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _python2() -> Path:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [
        *sorted(root.glob("versions/2.7*/bin/python2.7")),
        *map(Path, filter(None, [shutil.which("python2.7")])),
    ]
    for candidate in candidates:
        if subprocess.run([candidate, "-c", "import pip, ssl"], capture_output=True).returncode == 0:
            return candidate
    raise NotThere(
        "WSTEST is not set, wstest is not on the path, and there is no Python 2.7 with pip to install it for"
    )


@contextlib.contextmanager
def run_server(wstest: Path, folder: Path, cases: Sequence[str]) -> Iterator[str]:
    """The server's URL while it runs; its reports go to ``folder``. Raises NotThere if it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    spec = {"url": url, "outdir": str(folder), "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            [
                *(_interpreter(wstest), "-c", _ON_LOOPBACK, wstest.parents[1]),
                *("--mode", "fuzzingserver", "--spec", folder / "spec.json", "--webport", "0"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(port, process, folder / "server.log")
        yield url
    finally:
        process.kill()
        process.wait()


def _interpreter(wstest: Path) -> str:
    """Return the Python that the script names in its first line."""
    try:
        first = wstest.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        first = ""
    if not first.startswith("#!") or "python" not in first:
        raise NotThere(f"{wstest} is not a Python script, so it cannot be kept on loopback")
    return first[2:].split()[-1]


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise NotThere(
        f"the fuzzing server did not start: {log.read_text(encoding='utf-8', errors='replace')[-500:]}"
    )
