"""kalshi-feed itself: help, version, and what it says where an extra is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import kalshi_feed as package
from kalshi_feed.cli.commands import group

from .support import TOP, environment, kalshi_feed


def test_version() -> None:
    result = kalshi_feed("--version")
    assert (result.returncode, result.stdout) == (0, f"kalshi-feed, version {package.__version__}\n")


@pytest.mark.parametrize("command", [(), *((name,) for name in group.commands)], ids=" ".join)
def test_help_has_examples(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(group, [*command, "--help"], prog_name="kalshi-feed")
    assert result.exit_code == 0
    assert "Example" in result.output and f"kalshi-feed {' '.join(command)}".rstrip() in result.output


WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from kalshi_feed.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("missing", "command", "text"),
    [
        ("click", "demo", "install kalshi-feed[demo]: pip install "),
        ("rich", "watch", "install kalshi-feed[demo]: pip install "),
        ("websockets", "demo", "install kalshi-feed[simulator]: pip install "),
        ("trustme", "exchange", "install kalshi-feed[simulator]: pip install "),
    ],
)
def test_a_missing_extra_is_named(missing: str, command: str, text: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, missing, command],
        cwd=TOP,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 2
    assert text in result.stderr and "Traceback" not in result.stderr


def test_nothing_optional_is_imported_before_it_runs() -> None:
    code = "import sys, kalshi_feed.cli; print('click' in sys.modules, 'rich' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=TOP, env=environment(), capture_output=True, text=True
    )
    assert result.stdout == "False False\n"
