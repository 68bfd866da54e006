"""How the command line tells errors: one message and no traceback; 2 for what was asked wrongly, 1 for what
could not be done.

Must not import anything of the package but errors. Main thread only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from ..errors import ConfigurationError, ConnectionFailed, KalshiFeedError, TLSError

__all__ = ["Failed", "Misused", "reporting_errors"]


class Failed(click.ClickException):
    """It could not be done."""

    exit_code = 1


class Misused(click.ClickException):
    """It was asked wrongly: an option, the environment, a file, a missing package."""

    exit_code = 2


@contextlib.contextmanager
def reporting_errors() -> Iterator[None]:
    """Errors of the package and of files as one message."""
    try:
        yield
    except ConfigurationError as error:
        raise Misused(str(error)) from error
    except TLSError as error:
        raise Failed(f"{error} (on this command line: --ca-file)") from error
    except ConnectionFailed as error:
        raise Failed(f"{error} (`kalshi-feed check` looks into it step by step)") from error
    except KalshiFeedError as error:
        raise Failed(str(error)) from error
