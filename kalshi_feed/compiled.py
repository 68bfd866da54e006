"""The compiled dependencies are imported first, for the one reason for which they refuse: a sub-interpreter.

uWSGI and mod_wsgi run each application in its own, and a process can have cryptography in one of them only.
Owns the message with the remedy. Importing this module is the check; every import of the package begins here.
cryptography comes before msgspec, because where it raises, msgspec may end the process (Python 3.12).
"""

from __future__ import annotations

from importlib import import_module

__all__: list[str] = []


def _load(name: str) -> None:
    """Import the package. Raises ImportError; with the remedy if it refuses a sub-interpreter."""
    try:
        import_module(name)
    except (ImportError, SystemError) as error:
        # msgspec raises a bare SystemError; PyO3 and CPython say "subinterpreters"
        if not isinstance(error, SystemError) and "subinterpreter" not in str(error):
            raise
        raise ImportError(
            f"{name.partition('.')[0]} cannot be loaded into this sub-interpreter ({error}); have the server "
            "run the application in the main interpreter: single-interpreter = true for uWSGI "
            "(--single-interpreter), WSGIApplicationGroup %{GLOBAL} for mod_wsgi",
            name=name,
        ) from error


_load("cryptography.exceptions")
_load("msgspec")
