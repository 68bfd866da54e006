"""The benchmarks' command line; see ``python -m tests.benchmarks --help``."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import ssl
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.benchmarks import compression, cost, latency, markets, peers, publish, relay, throughput
from tests.benchmarks.rounds import FULL, QUICK
from tests.benchmarks.spawn import cores

SECTIONS = {
    "throughput": throughput,
    "markets": markets,
    "latency": latency,
    "cost": cost,
    "relay": relay,
    "compression": compression,
    "peers": peers,
}
PACKAGES = (
    "kalshi-feed",
    "msgspec",
    "websocket-client",
    "orjson",
    "flask",
    "cryptography",
    "redis",
    "hiredis",
)


def versions() -> dict[str, str]:
    """The versions of the packages; redis and hiredis may be missing."""
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def circumstances() -> dict[str, Any]:
    """When, where and with which versions the run was made."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
        "packages": versions(),
        "cores": dict(zip(("client", "server"), cores(), strict=True)),
        "load_before": os.getloadavg(),
    }


def main() -> None:
    """Run the requested sections, print their tables, and save the results if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="What the feed costs, measured on loopback."
    )
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"some of: {', '.join(SECTIONS)} (all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds: about two minutes, rough numbers"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="rewrite the tables in the two READMEs and the plot in tests/benchmarks/results",
    )
    options = parser.parse_args()
    chosen = options.sections or list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if options.publish and (options.quick or options.sections):
        parser.error("--publish needs a whole run, without --quick and sections")
    report: dict[str, Any] = {
        "circumstances": circumstances(),
        "scale": (QUICK if options.quick else FULL)._asdict(),
    }
    for name in chosen:
        report[name] = SECTIONS[name].run(QUICK if options.quick else FULL)
        print(SECTIONS[name].text(report[name]), flush=True)
    report["circumstances"]["load_after"] = os.getloadavg()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    if options.publish:
        publish.publish(report)


if __name__ == "__main__":
    main()
