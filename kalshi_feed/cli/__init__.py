"""The command ``kalshi-feed``: demo, watch, check, record, replay, convert and exchange.

Needs the extra ``cli`` (click, rich), and ``simulator`` for demo and exchange. Owns ``main()``; nothing else is
imported until it runs. Layers, downwards: commands > (demo, watching, checking, storing, serve) > recordings > show >
(terminal, render, changes) > (monitor, layout, keys) > (model, access, check). Nothing imports this package but ``__main__``.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (by default the process's). Main thread only; usually ends with SystemExit."""
    try:
        from .commands import group
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("click", "rich"):
            raise
        print(
            f"kalshi-feed needs the package {missing!r}, which is not installed: pip install 'kalshi-feed[demo]' "
            "(or 'kalshi-feed[cli]' for the watch command alone)",
            file=sys.stderr,
        )
        return 2
    # Both end a command the same way: with its summary, the terminal restored and the files removed. A shell that
    # starts a job in the background may have had SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed, or none of the system's
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a locale without × ends no command
    group.main(None if arguments is None else list(arguments), prog_name="kalshi-feed")
    return 0
