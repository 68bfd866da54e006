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

from tests.benchmarks.captured import CHANGES, FILES
from tests.benchmarks.captured import MARKETS as CAPTURED_MARKETS
from tests.benchmarks.rounds import FULL, Figures, Scale, say
from tests.benchmarks.spawn import Bench
from tests.benchmarks.tables import number, table

MARKETS = 100
# the kinds of frames
SEEN = "sizes seen before"
NEW = "new sizes"
CAPTURED = "captured frames"
MANY = "many markets"
FAST = ("openpx",)  # the others are many times slower, whatever the kind
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
    """The feed, the floor and every peer in turn, on each kind of frames. ``missing`` says why a peer has no
    results; a quick run has one kind."""
    missing: dict[str, str] = {}
    pythons = {}
    for peer in PEERS:
        say(f"installing {peer.name}")
        try:
            pythons[peer.name] = _environment(peer)
        except (OSError, subprocess.SubprocessError) as error:
            missing[peer.name] = f"could not be installed: {_last_line(error)}"
    kinds = [SEEN] if scale.rounds < FULL.rounds else [SEEN, NEW, *([CAPTURED] if FILES else ()), MANY]
    figures = {kind: _on(kind, scale, pythons, missing) for kind in kinds}
    say("")
    return {"missing": missing, **figures}


def _on(kind: str, scale: Scale, pythons: dict[str, str], missing: dict[str, str]) -> dict[str, Figures]:
    """The figures on one kind of frames. A peer that does not finish becomes ``missing``."""
    want = CHANGES if kind == CAPTURED else scale.deltas // 4
    markets = {CAPTURED: CAPTURED_MARKETS, MANY: scale.books}.get(kind, MARKETS)
    frames = {NEW: "new sizes", CAPTURED: "captured"}.get(kind, "deltas")
    server: dict[str, Any] = {"markets": markets, "deltas": want, "kind": frames}
    seen: dict[str, list[Figures]] = {}
    with Bench() as bench:
        for number_ in range(scale.rounds):
            for name, client in (("floor", "floor"), ("kalshi_feed", "throughput")):
                url = bench.server(**server)
                seen.setdefault(name, []).append(bench.client(client, url, markets=markets, want=want))
            for peer in PEERS:
                if peer.name in missing or (kind in (NEW, MANY) and peer.name not in FAST):
                    continue
                say(f"round {number_ + 1}, {kind}: {peer.name}")
                url = bench.server(**server, markers=False)
                try:
                    seen.setdefault(peer.name, []).append(
                        _measured(peer, pythons[peer.name], url, bench, markets, want)
                    )
                except (OSError, ValueError, subprocess.SubprocessError) as error:
                    missing[peer.name] = f"did not finish: {_last_line(error)}"
                    seen.pop(peer.name, None)
    figures: dict[str, Figures] = {}
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


def _measured(peer: Peer, python: str, url: str, bench: Bench, markets: int, want: int) -> Figures:
    """One run. The drivers report the seconds from the first delta to the last, and the CPU seconds between
    them."""
    port = url.rpartition(":")[2].partition("/")[0]
    command = [python, str(peer.driver), port, str(bench.folder / "key.pem"), str(markets), str(want)]
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
    """The tables."""
    head = ("", "µs a delta", "median", "CPU µs a delta", "median", "times kalshi_feed's", "CPU")
    tables = []
    for kind, mine in figures.items():
        if kind == "missing":
            continue
        rows = [
            (
                name,
                *(
                    number(one[key])
                    for key in ("us", "us_median", "cpu_us", "cpu_us_median", "ratio", "cpu_ratio")
                ),
            )
            for name, one in mine.items()
        ]
        tables.append(f"### Other clients, {kind}\n\n{table(head, rows)}")
    said = "".join(f"\n{name}: {why}" for name, why in figures["missing"].items())
    return "\n".join(tables) + said
