"""``python -m tests.autobahn``: our transport against Autobahn's fuzzing server, sections 1 to 7 and 10 (247
cases) and the smaller messages of 12 and 13, which are about compression (48). ``--full`` runs all of those
(216), for about ten minutes.

The server is ``wstest`` from the package ``autobahntestsuite``, which needs Python 2.7 in an environment of
its own. It is taken from the environment variable WSTEST or from the path. Otherwise, if there is a Python
2.7 with pip (python2.7 on the path, or in pyenv: ``pyenv install 2.7.18``), it is installed once into
~/.cache/kalshi-feed. If none of these exists, the command says so and exits with 0. By hand: ``python2.7 -m
pip install --target DIR autobahntestsuite``, then WSTEST=DIR/bin/wstest.

Section 9 (performance) is left out. Everything is on loopback. The last line is JSON; the exit status is 1 if
a case failed. ``--report DIR`` keeps the server's reports (open DIR/index.html).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from .client import AGENT, FuzzingClient
from .server import CASES, FULL, NotThere, find_wstest, run_server

# any other verdict has failed
VERDICTS: Final = {
    "OK": "ok",
    "NON-STRICT": "non_strict",
    "INFORMATIONAL": "informational",
}
RUN_SECONDS: Final = 1_800.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.autobahn", description="Autobahn's fuzzing server against our transport"
    )
    parser.add_argument("--report", type=Path, help="a folder that keeps the server's reports")
    parser.add_argument("--full", action="store_true", help="all cases of sections 12 and 13, too")
    arguments = parser.parse_args()
    try:
        wstest = find_wstest()
        with tempfile.TemporaryDirectory() as scratch:
            folder = (arguments.report or Path(scratch)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            with run_server(wstest, folder, FULL if arguments.full else CASES) as url:
                count = _play(FuzzingClient(url))
            results = json.loads((folder / "index.json").read_text(encoding="utf-8"))[AGENT]
    except NotThere as error:
        print(f"skipped: {error}")
        return 0
    return report(results, count)


def _play(client: FuzzingClient) -> int:
    """Run all cases; return how many there were."""
    began = time.monotonic()
    count = client.count()
    for number in range(1, count + 1):
        if time.monotonic() > began + RUN_SECONDS:
            print(f"stopped at case {number}: the run took longer than {RUN_SECONDS:.0f} s")
            break
        try:
            client.play(number)
        except TimeoutError as error:  # the server counts that as a failure, too
            print(error)
    client.write_reports()
    print(f"{count} cases in {time.monotonic() - began:.0f} s")
    return count


def report(results: dict[str, Any], count: int) -> int:
    """Print the table, the failures and the last line; return the exit status."""
    sections: dict[str, Counter[str]] = {}
    for case in sorted(results, key=lambda name: [int(part) for part in name.split(".")]):
        verdict = _verdict(results[case])
        sections.setdefault(case.partition(".")[0], Counter())[verdict] += 1
        if verdict != "ok":
            print(
                f"{case:8} {verdict:14} {results[case]['behavior']}, close {results[case]['behaviorClose']}"
            )
    columns = ("ok", "non_strict", "informational", "failed")
    print(f"{'section':8}" + "".join(f"{column:>15}" for column in columns))
    for section, verdicts in sections.items():
        print(f"{section:8}" + "".join(f"{verdicts[column]:15}" for column in columns))
    total = {column: sum(verdicts[column] for verdicts in sections.values()) for column in columns}
    total["failed"] += count - len(results)  # a case that was not played has not passed
    print(json.dumps(total))
    return 1 if total["failed"] else 0


def _verdict(result: dict[str, Any]) -> str:
    """A case that is not right both in its behavior and in its close has failed."""
    if result["behaviorClose"] not in ("OK", "INFORMATIONAL"):
        return "failed"
    return VERDICTS.get(result["behavior"], "failed")


if __name__ == "__main__":
    sys.exit(main())
