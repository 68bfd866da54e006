"""python -m tests.faults.seeded_bugs [--quick]: puts each bug into a copy of the package and runs the tests
that must catch it.

Prints a table, and as its last line JSON with "bugs" and "caught". The exit code is 1 if a bug survives, and
2 if a seed no longer fits the source. Only a failing test counts: a run that breaks, hangs or tests something
else catches nothing. First the tests run on a copy without any bug, and must pass.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from .bugs import BUGS, QUICK, Bug

ROOT: Final = Path(__file__).parents[3]
BOUND: Final = 180.0  # seconds for one run
AT_ONCE: Final = 2
_FAILED: Final = 1  # pytest's exit code when a test has failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.seeded_bugs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {len(QUICK)} of them")
    parser.add_argument("--only", metavar="WORD", help="only the bugs with this word in their name")
    arguments = parser.parse_args()
    bugs = [
        bug
        for bug in BUGS
        if (not arguments.quick or bug.name in QUICK) and (arguments.only or "") in bug.name
    ]
    if problems := [problem for bug in bugs if (problem := misfit(bug))]:
        print(*problems, sep="\n", file=sys.stderr)
        return 2
    began = time.monotonic()
    code, text, _ = run(None, sorted({bug.tests for bug in bugs}))
    if code:
        print(
            f"{text}\nthe tests fail without any bug, so they would catch nothing (exit code {code})",
            file=sys.stderr,
        )
        return 2
    print(f"without a bug, the tests pass: {time.monotonic() - began:.0f} s")
    caught = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for bug, (code, text, seconds) in zip(
            bugs, pool.map(lambda bug: run(bug, [bug.tests]), bugs), strict=True
        ):
            by = re.search(r"^FAILED \S+?([^/]+::\S+)", text, re.MULTILINE)
            is_caught = code == _FAILED and by is not None
            caught += is_caught
            verdict, by_what = "caught" if is_caught else "SURVIVED", by[1] if by else f"exit code {code}"
            print(f"{verdict:8}  {seconds:4.0f} s  {bug.name:42}  {by_what}", flush=True)
            if not is_caught and code:
                print(text[-2000:], flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    print(json.dumps({"bugs": len(bugs), "caught": caught}))
    return 0 if caught == len(bugs) else 1


def misfit(bug: Bug) -> str | None:
    """Return what is wrong with the seed, if anything."""
    file = ROOT / "kalshi_feed" / bug.file
    count = file.read_text(encoding="utf-8").count(bug.old) if file.exists() else 0
    if count == 1 and bug.old != bug.new:
        return None
    return (
        f"the seed of {bug.name!r} must be renewed: its old text appears {count} times in "
        f"kalshi_feed/{bug.file}, not once"
    )


def run(bug: Bug | None, tests: Iterable[str]) -> tuple[int | None, str, float]:
    """Return pytest's exit code (None: it did not end), its output, and how many seconds it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="seeded-bug-") as place:
        copy = Path(place)
        for part in ("kalshi_feed", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", copy)
        if bug is not None:
            file = copy / "kalshi_feed" / bug.file
            file.write_text(file.read_text(encoding="utf-8").replace(bug.old, bug.new), encoding="utf-8")
        ours = {
            "PYTHONPATH": place,
            "KALSHI_SEEDED_COPY": place,
            "KALSHI_EFFORT": "first",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",  # workers get markets by hash: make every run the same
        }
        plugins = ("-p", "no:cacheprovider", "-p", "tests.faults.seeded_bugs.the_copy")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-m", "", *plugins, *tests],
                cwd=place, env=os.environ | ours, timeout=BOUND, text=True, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as expired:
            return None, str(expired.stdout)[-2000:], time.monotonic() - began
    return done.returncode, done.stdout, time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
