"""Completion by the shell, turned on as `kalshi-feed --help` and samples/terminal.md say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kalshi_feed.cli.commands import group

from .support import COMMAND, TOP, environment


def completions(words: str) -> list[str]:
    """What click offers bash for the last of the words."""
    more = {
        "_KALSHI_FEED_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    result = subprocess.run(
        [*COMMAND], cwd=TOP, env=environment(**more), capture_output=True, text=True, timeout=30
    )
    assert result.stderr == ""
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_commands_options_and_channels() -> None:
    assert completions("kalshi-feed ") == sorted(group.commands)
    assert completions("kalshi-feed wa") == ["watch"]
    assert {"--timeout", "--json", "--env", "--help"} <= set(completions("kalshi-feed check --"))
    assert completions("kalshi-feed check --env ") == ["production", "demo"]
    for command in ("watch", "record"):
        found = completions(f"kalshi-feed {command} X --channel order")
        assert found == ["orderbook_delta", "order_group_updates"]


def test_the_lines_are_in_the_help_and_in_the_guide() -> None:
    text = CliRunner().invoke(group, ["--help"], prog_name="kalshi-feed").output
    lines = re.findall(r"^ *(bash|zsh|fish) +(.*_KALSHI_FEED_COMPLETE=.*)$", text, re.MULTILINE)
    assert [shell for shell, _ in lines] == ["bash", "zsh", "fish"]
    guide = (TOP / "samples" / "terminal.md").read_text(encoding="utf-8")
    assert lines[0][1] in guide


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_in_bash(tmp_path: Path) -> None:
    """The line of the help, and then the Tab key, as far as bash can be asked without a terminal."""
    command = tmp_path / "kalshi-feed"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m kalshi_feed "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    script = """
        eval "$(_KALSHI_FEED_COMPLETE=bash_source kalshi-feed)"
        complete -p kalshi-feed
        COMP_WORDS=(kalshi-feed che) COMP_CWORD=1
        "$(complete -p kalshi-feed | sed 's/.*-F \\([^ ]*\\).*/\\1/')" kalshi-feed che kalshi-feed
        echo "${COMPREPLY[@]}"
    """
    environ = environment(PATH=f"{tmp_path}:/usr/bin:/bin")
    result = subprocess.run(
        ["bash", "--norc", "-c", script], env=environ, capture_output=True, text=True, timeout=30
    )
    assert result.stderr == "" and result.stdout.splitlines()[-1] == "check"
