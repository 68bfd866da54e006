"""How the command line reports errors: one message, no traceback, and an exit code.

The exit code is 2 for a command that makes no sense, 1 for one that could not be carried out. Main thread
only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from ..errors import ConfigurationError, ConnectionFailed, KalshiFeedError, TLSError
from .wording import in_own_terms

__all__ = ["CHECK", "Failed", "Misused", "reporting_errors"]

CHECK = "`kalshi-feed check` tests the connection step by step"


class Failed(click.ClickException):
    """The command could not be carried out. Owned by the thread that raises it."""

    exit_code = 1


class Misused(click.ClickException):
    """Something the command was given is wrong: an option, the environment, a file, a missing package. Owned
    by the thread that raises it."""

    exit_code = 2


@contextlib.contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn errors of the package into one message in the command line's own terms."""
    try:
        yield
    except ConfigurationError as error:
        raise Misused(in_own_terms(error)) from error
    except TLSError as error:
        raise Failed(in_own_terms(error)) from error
    except ConnectionFailed as error:
        raise Failed(f"{in_own_terms(error)} ({CHECK})") from error
    except KalshiFeedError as error:
        raise Failed(in_own_terms(error)) from error
