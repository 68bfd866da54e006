"""Other Kalshi clients on the same frames, each driven by its script in peer_drivers.

Each has its own virtual environment, which is made on the first run and kept in the user's cache. A client
that cannot be installed or does not finish is reported as such.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.benchmarks.rounds import Figures, Scale, say
from tests.benchmarks.spawn import Bench
from tests.benchmarks.tables import number, table

MARKETS = 100
INSTALL_SECONDS = 300
RUN_SECONDS = 60
DRIVERS = Path(__file__).parent / "peer_drivers"


class Peer(NamedTuple):
    """A client and its requirements. Its driver is named after it."""

    name: str
    requirements: tuple[str, ...]
    python: tuple[str, ...] = ()  # names to look for; empty: the running one

    @property
    def driver(self) -> Path:
        return DRIVERS / f"drive_{self.name.replace('-', '_')}.py"


PEERS = (
    Peer("openpx", ("openpx==0.3.1",)),
    Peer("neural-sdk", ("neural-sdk==0.4.1", "websockets", "certifi")),
    Peer(
        "kalshi-simple-ws-orderbook",
        ("kalshi-simple-ws-orderbook==1.0.0", "websockets", "requests", "cryptography"),
    ),
    Peer("pykalshi-client", ("pykalshi-client==1.3.0", "orjson")),
    Peer("pykalshi", ("pykalshi==2.0.0",)),
    Peer("kalshi-sdk", ("kalshi-sdk==22.4.0",), ("3.13", "3.12")),
)


def run(scale: Scale) -> Figures:
    """The feed, the floor and every peer in turn. ``missing`` says why a peer has no results."""
    missing: dict[str, str] = {}
    pythons = {}
    for peer in PEERS:
        say(f"installing {peer.name}")
        try:
            pythons[peer.name] = _environment(peer)
        except (OSError, subprocess.SubprocessError) as error:
            missing[peer.name] = f"could not be installed: {_last_line(error)}"
    want = scale.deltas // 4
    server: dict[str, Any] = {"markets": MARKETS, "deltas": want}
    seen: dict[str, list[Figures]] = {}
    with Bench() as bench:
        for number_ in range(max(scale.rounds // 3, 2)):
            for name, client in (("floor", "floor"), ("kalshi_feed", "throughput")):
                seen.setdefault(name, []).append(
                    bench.client(client, bench.server(**server), markets=MARKETS, want=want)
                )
            for peer in PEERS:
                if peer.name in missing:
                    continue
                say(f"round {number_ + 1}: {peer.name}")
                url = bench.server(**server, markers=False)
                try:
                    seen.setdefault(peer.name, []).append(
                        _measured(peer, pythons[peer.name], url, bench, want)
                    )
                except (OSError, ValueError, subprocess.SubprocessError) as error:
                    missing[peer.name] = f"did not finish: {_last_line(error)}"
                    seen.pop(peer.name, None)
    say("")
    figures: Figures = {"missing": missing}
    for name, rounds in seen.items():
        mine = figures[name] = {}
        for key in ("seconds", "cpu_seconds"):
            values = [one[key] / want * 1e6 for one in rounds]
            mine[key.replace("seconds", "us")], mine[key.replace("seconds", "us_median")] = (
                min(values),
                median(values),
            )
            mine["cpu_ratio" if key == "cpu_seconds" else "ratio"] = min(values) / min(
                one[key] / want * 1e6 for one in seen["kalshi_feed"]
            )
    return figures


def _environment(peer: Peer) -> str:
    """The Python of the peer's own virtual environment, which is made if necessary."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kalshi_feed-benchmarks"
    home = cache / "-".join(peer.requirements[0].split("=="))
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return str(python)
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run(
        [_interpreter(peer), "-m", "venv", str(home)],
        check=True,
        capture_output=True,
        timeout=INSTALL_SECONDS,
    )
    install = [str(python), "-m", "pip", "install", "-q", *peer.requirements]
    subprocess.run(install, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    (home / "complete").touch()
    return str(python)


def _interpreter(peer: Peer) -> str:
    for version in peer.python:
        installed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        found = str(installed[-1]) if installed else shutil.which(f"python{version}")
        if found:
            return found
    if peer.python:
        raise OSError(f"it needs one of Python {', '.join(peer.python)}")
    return sys.executable


def _measured(peer: Peer, python: str, url: str, bench: Bench, want: int) -> Figures:
    """One run. The drivers report the seconds from the first delta to the last, and the CPU seconds between
    them."""
    port = url.rpartition(":")[2].partition("/")[0]
    command = [python, str(peer.driver), port, str(bench.folder / "key.pem"), str(MARKETS), str(want)]
    if bench.client_core >= 0:
        command = ["taskset", "-c", str(bench.client_core), *command]
    ran = subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=RUN_SECONDS,
        env={**os.environ, "PEER_TIMEOUT": str(RUN_SECONDS - 10)},
    )
    heard = json.loads(ran.stdout.strip().splitlines()[-1])
    if not heard["complete"]:
        raise ValueError(
            f"{heard['deltas']} of {want} deltas: {heard.get('error') or 'the others were lost'}"
        )
    return {"seconds": heard["seconds"], "cpu_seconds": heard["cpu_seconds_window"]}


def _last_line(error: Exception) -> str:
    lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
    return (lines[-1] if lines else str(error))[:200]


def text(figures: Figures) -> str:
    """The table."""
    rows = [
        (
            name,
            number(one["us"]),
            number(one["cpu_us"]),
            number(one["cpu_us_median"]),
            number(one["cpu_ratio"]),
        )
        for name, one in figures.items()
        if name != "missing"
    ]
    head = ("", "µs a delta", "CPU µs a delta", "median", "CPU, times kalshi_feed's")
    said = "".join(f"\n{name}: {why}" for name, why in figures["missing"].items())
    return f"### Other clients, {MARKETS} markets\n\n{table(head, rows)}{said}"
