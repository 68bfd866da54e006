"""The command ``kalshi-feed``: demo, watch, markets, check, record, replay, convert, exchange and relay.

Needs the extra ``cli`` (click, rich), ``simulator`` for demo and exchange, and ``rest`` for markets and for
following series and events, and ``redis`` for relay and for reading from one. Owns ``main()``; nothing else
is imported until it runs. Layers, downwards:
commands > (rolling, demo, relay_demo, checking, storing, serve, relay_command, finding) >
(recording_commands, relaying, check_relay, relay_parts, local_redis) > recordings > watching >
show > (terminal, render, changes, watched, descriptions) > (followed, unknown, first_connection) > (monitor,
ladder, lists, columns, notes, layout, keys, options, asking, errors) > (about, model, access, subscribing,
check, wording). Only ``__main__`` imports this package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from ..extras import how_to_install

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, by default those of the process. Main thread only; usually ends
    with SystemExit."""
    try:
        from .commands import group
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("click", "rich"):
            raise
        print(
            f"kalshi-feed needs the package {missing!r}; {how_to_install('demo')}\n"
            "(the extra cli instead of demo leaves out the simulator)",
            file=sys.stderr,
        )
        return 2
    _end_as_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed, or replaced by something else
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # for locales without ×
    try:
        group.main(None if arguments is None else list(arguments), prog_name="kalshi-feed")
    finally:
        _discard_unread_output()
    return 0


def _end_as_ctrl_c() -> None:
    """Make SIGTERM, SIGHUP and SIGBREAK end a command as Ctrl-C does: with its summary, the terminal
    restored, and temporary files removed.

    A second SIGTERM ends the process; a second SIGHUP is the same lost session as the first. An ignored
    signal stays ignored (nohup), except Ctrl-C, which some shells ignore for background jobs.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def _discard_unread_output() -> None:
    """Discard what is buffered for a closed pipe (`| head`, or `| grep` after Ctrl-C): writing it at exit
    would print a traceback."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or replaced
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
