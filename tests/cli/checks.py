"""Running ``kalshi-feed check`` and reading its report."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from kalshi_feed.cli import check
from kalshi_feed.cli.commands import group

from .support import Access

__all__ = ["CLEAN", "PROXIES", "checked", "run", "says"]

PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
CLEAN = dict.fromkeys((*PROXIES, "KALSHI_ENV", "KALSHI_PRIVATE_KEY", "KALSHI_PRIVATE_KEY_PASSWORD"))


def run(access: Access, *arguments: str, options: tuple[str, ...] | None = None, **environ: str) -> Result:
    words = ["check", *(access.options if options is None else options), *arguments]
    env: dict[str, str | None] = {**CLEAN, **access.environ, **environ}
    result = CliRunner().invoke(group, words, env=env)
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert "Traceback" not in result.output
    return result


def checked(access: Access, *arguments: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps by name, and the one that failed; the exit code and ``ok`` are in accord with it."""
    result = run(access, *arguments, "--json", **more)
    report = json.loads(result.output)
    steps = {step["step"]: step for step in report["steps"]}
    assert list(steps) == list(check.STEPS)
    failed = [name for name, step in steps.items() if step["status"] == "failed"]
    assert report["failed"] == (failed[0] if failed else None)
    assert (result.exit_code, report["ok"]) == ((1, False) if failed else (0, True))
    return steps, steps[failed[0]] if failed else {}


def says(step: dict[str, Any]) -> str:
    return " ".join([step["step"], step["found"], *step["advice"]])
