"""The public API as type checkers see it: a good program passes mypy --strict, wrong lines are refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import message_overloads

pytest.importorskip("mypy", reason="mypy is in the extra lint")

HERE = Path(__file__).parent
TOP = HERE.parents[1]


def refused(tmp_path: Path, *names: str) -> dict[str, set[int]]:
    """The lines of each program for which mypy --strict reports an error."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--hide-error-context",
        f"--cache-dir={tmp_path}",
    ]
    files = [f"tests/typing/{name}" for name in names]
    result = subprocess.run(
        [*command, *files], cwd=TOP, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode in (0, 1) and not result.stderr, result.stderr
    found: dict[str, set[int]] = {name: set() for name in names}
    for path, line in re.findall(r"^(.*?):(\d+): error:", result.stdout, re.MULTILINE):
        assert Path(path).name in found, result.stdout
        found[Path(path).name].add(int(line))
    return found


@pytest.mark.slow
def test_a_good_program_passes_and_every_bad_line_is_refused(tmp_path: Path) -> None:
    found = refused(tmp_path, "good.py", "bad.py")
    lines = (HERE / "bad.py").read_text(encoding="utf-8").splitlines()
    assert found["good.py"] == set()
    assert found["bad.py"] == {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}


def test_the_overloads_are_as_the_message_classes_say() -> None:
    text = message_overloads.MODULE.read_text(encoding="utf-8")
    assert message_overloads.written(text) == text, "run: python -m tests.message_overloads"
