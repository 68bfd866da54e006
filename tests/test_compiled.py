"""Sub-interpreters, as uWSGI and mod_wsgi make them: the import error says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import environment

IMPORT = """
try:
    import kalshi_feed
except ImportError as error:
    cause = error.__cause__
    print(error.name, type(cause).__name__, error, sep="|", flush=True)
"""
# the kind of interpreter that servers make: it shares the lock, and extension modules are not refused as such
RUN = """
import sys
import kalshi_feed
try:
    from _testcapi import run_in_subinterp as run
except ImportError:
    try:
        import _interpreters
        run = lambda code: _interpreters.exec(_interpreters.create("legacy"), code)
    except ImportError:
        try:
            import _xxsubinterpreters
        except ImportError:
            print("none")
            sys.exit()
        run = lambda code: _xxsubinterpreters.run_string(_xxsubinterpreters.create(isolated=False), code)
run(sys.argv[1])
"""
REMEDY = ("single-interpreter = true", "--single-interpreter", "WSGIApplicationGroup %{GLOBAL}")


def output_of(*arguments: str, path: Path | None = None) -> list[str]:
    """What a Python of its own prints; ``path`` comes first in its search path."""
    environ = environment()
    if path is not None:
        environ["PYTHONPATH"] = f"{path}{os.pathsep}{environ['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-c", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_second_interpreter_of_a_process() -> None:
    said = output_of(RUN, IMPORT)
    if said == ["none"]:
        pytest.skip("this Python has none of the modules that make a sub-interpreter")
    (line,) = said
    name, cause, text = line.split("|")
    assert (name, cause) == ("cryptography.exceptions", "ImportError")
    assert text.startswith("cryptography cannot be loaded into this sub-interpreter (")
    assert all(word in text for word in REMEDY)


def test_a_library_that_raises_a_system_error_there(tmp_path: Path) -> None:
    """msgspec does, on some Pythons."""
    (tmp_path / "msgspec.py").write_text("raise SystemError('initialization of _core failed')")
    (line,) = output_of(IMPORT, path=tmp_path)
    assert line.startswith("msgspec|SystemError|msgspec cannot be loaded") and REMEDY[0] in line


def test_an_import_error_of_another_kind_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("import nowhere_to_be_found")
    (line,) = output_of(IMPORT, path=tmp_path)
    assert line == "nowhere_to_be_found|NoneType|No module named 'nowhere_to_be_found'"
