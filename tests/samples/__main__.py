"""python -m tests.samples: test each sample with only what samples/README.md lists for it.

The tests themselves run in this environment. Each sample runs in its own, made from a wheel of this checkout:
first with the packages in the table's last column; then, for --simulate, with the extra "simulator" as well.
uv makes the environments if it is installed: it is a minute faster than venv and pip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

TOP: Final = Path(__file__).parents[2]
NO_TESTS: Final = 5  # pytest's exit code if there was nothing to run
_ROW = re.compile(r"^\|.*\[`(?P<sample>\w+(?:\.conf)?\.py)`\].*\|(?P<needs>[^|]+)\|$", re.MULTILINE)


class Sample(NamedTuple):
    """A row of the table, and the tests of the sample."""

    name: str
    needs: tuple[str, ...]

    @property
    def tests(self) -> list[str]:
        """Arguments for pytest."""
        folder, stem = TOP / "tests" / "samples", self.name.removesuffix(".py")
        if self.name == "gunicorn.conf.py":
            return [str(folder / "test_flask_app.py"), "-k", "gunicorn"]
        if self.name == "flask_app.py":
            return [str(folder / "test_flask_app.py"), "-k", "not gunicorn"]
        own = folder / f"test_{stem}.py"
        return [str(own)] if own.exists() else [str(folder / "test_scripts.py"), "-k", stem]


def samples() -> list[Sample]:
    """The samples that samples/README.md lists. Raises ValueError if one is missing there."""
    text = (TOP / "samples" / "README.md").read_text(encoding="utf-8")
    found = [
        Sample(row["sample"], tuple(re.findall(r"`([^`]+)`", row["needs"]))) for row in _ROW.finditer(text)
    ]
    there = {file.name for file in (TOP / "samples").glob("*.py")} - {"_common.py"}
    if there != {sample.name for sample in found}:
        raise ValueError(
            f"samples/README.md does not list what is needed for {there ^ {sample.name for sample in found}}"
        )
    return found


def tried(sample: Sample, wheel: Path, folder: Path) -> str:
    """Return what is wrong with the sample, or an empty string."""
    home = folder / sample.name
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    make, install = [sys.executable, "-m", "venv"], [str(python), "-m", "pip", "install"]
    if uv := shutil.which("uv"):
        make = [uv, "venv", "-q", "--python", sys.executable]
        # compiled, as pip does it: the tests wait for servers to start
        install = [uv, "pip", "install", "--compile-bytecode", "--python", str(python)]
    code, said = _run([*make, str(home)])
    if code:
        return said
    was_tried = False
    for needs, chosen in ((sample.needs, "not simulates"), (("kalshi-feed[simulator]",), "simulates")):
        wanted = [re.sub(r"^kalshi-feed", str(wheel), need) for need in needs]
        code, said = _run([*install, "-q", *wanted])
        if code:
            return said
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "-m",
            chosen,
            *sample.tests,
        ]
        code, said = _run(command, KALSHI_TESTS_PYTHON=str(python))
        if code not in (0, NO_TESTS):
            return said
        was_tried |= code == 0
    return "" if was_tried else "no test tries it"


def _run(command: list[str], **environ: str) -> tuple[int, str]:
    """Return the exit code and the output."""
    ran = subprocess.run(
        command, cwd=TOP, env=os.environ | environ, text=True, check=False, timeout=300,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return ran.returncode, f"{' '.join(command)}\n{ran.stdout}"


def main() -> int:
    """Test all samples, two at a time."""
    with tempfile.TemporaryDirectory(prefix="samples-") as place:
        folder, began = Path(place), time.monotonic()
        code, text = _run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place, str(TOP)])
        if code:
            print(text)
            return 1
        (wheel,) = folder.glob("*.whl")
        failures = 0
        with ThreadPoolExecutor(2) as pool:
            for sample, said in zip(
                samples(), pool.map(lambda one: tried(one, wheel, folder), samples()), strict=True
            ):
                failures += bool(said)
                print(
                    f"{'FAILED' if said else 'ok':6}  {sample.name:24}  {' '.join(sample.needs)}", flush=True
                )
                if said:
                    print(said)
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
