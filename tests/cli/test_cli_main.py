"""kalshi-feed itself: help, version, and what it says where an extra is missing."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import kalshi_feed as package
from kalshi_feed.cli.commands import group

from .support import TOP, WITHOUT, environment, kalshi_feed


def test_version() -> None:
    result = kalshi_feed("--version")
    assert (result.returncode, result.stdout) == (0, f"kalshi-feed, version {package.__version__}\n")


@pytest.mark.parametrize("command", [(), *((name,) for name in group.commands)], ids=" ".join)
def test_help_has_examples(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(group, [*command, "--help"], prog_name="kalshi-feed")
    assert result.exit_code == 0
    assert "Example" in result.output and f"kalshi-feed {' '.join(command)}".rstrip() in result.output


@pytest.mark.parametrize("command", [(), *((name,) for name in group.commands)], ids=" ".join)
def test_each_example_has_a_line_of_its_own(command: tuple[str, ...]) -> None:
    """click rewraps a paragraph without \\b, and a formatter of docstrings one with it."""
    output = CliRunner().invoke(group, [*command, "--help"], prog_name="kalshi-feed").output
    examples = output.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) >= 2
    for line in examples:
        assert line.startswith("    kalshi-feed ") and line.count("kalshi-feed") == 1, line


def test_an_option_means_the_same_everywhere() -> None:
    seen: dict[str, tuple[object, ...]] = {}
    for command in group.commands.values():
        for option in command.params:
            if option.name in ("as_json", "kind", "store", "output", "folder", "rate"):
                continue  # the first differs by what is printed, the others by what the command does
            if command.name == "demo" and option.name == "seconds":
                continue  # which has another default
            if not isinstance(option, click.Option):
                continue
            what = (option.opts, option.help, option.metavar, type(option.type), option.multiple)
            assert seen.setdefault(str(option.name), what) == what, command.name
    assert {"env", "url", "ca_file", "key_id", "key_file", "channels", "seconds", "gaps", "plain"} <= set(
        seen
    )


@pytest.mark.parametrize("command", group.commands)
def test_json_says_whether_it_streams(command: str) -> None:
    output = CliRunner().invoke(group, [command, "--help"], prog_name="kalshi-feed").output
    streams = command in ("watch", "replay", "markets")
    assert ("one JSON object per line: " if streams else "one JSON object: ") in " ".join(output.split())


CONTRADICTIONS = {
    "--plain and --json": (("watch", "X", "--plain", "--json"), ("replay", "X", "--json", "--plain")),
    "-o FILE and --to STORE": (("record", "X", "-o", "a.ndjson", "--to", "sqlite:///a"),),
    "--to STORE and --rotate-mb": (("record", "X", "--to", "sqlite:///a", "--rotate-mb", "1"),),
    "--to STORE and --rotate-minutes": (("record", "X", "--to", "sqlite:///a", "--rotate-minutes", "1"),),
    "--env and --url": (
        ("watch", "X", "--env", "demo", "--url", "wss://x"),
        ("check", "--env", "demo", "--url", "wss://x"),
        ("record", "X", "-o", "a.ndjson", "--env", "demo", "--url", "wss://x"),
    ),
}


@pytest.mark.parametrize("pair", CONTRADICTIONS)
def test_contradictory_options_are_refused(pair: str) -> None:
    for words in CONTRADICTIONS[pair]:
        result = CliRunner().invoke(group, words, prog_name="kalshi-feed")
        assert result.exit_code == 2, result.output
        assert f"Error: {pair} contradict each other: give one of them\n" in result.output


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
