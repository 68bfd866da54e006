"""What is called in a child process: all of it, oldest first, and nothing that is gone."""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from typing import Any

import pytest

import kalshi_feed
from kalshi_feed import forks
from kalshi_feed.forks import call_in_child, close_in_child


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """An empty registry: nothing of the package is told to leave this process."""
    mine: dict[Any, Any] = {}
    monkeypatch.setattr(forks, "_registered", mine)
    return mine


class Thing:
    """One that notes that it was told."""

    def __init__(self, name: str, told: list[str], error: BaseException | None = None) -> None:
        self._name = name
        self._told = told
        self._error = error
        call_in_child(self.leave)

    def leave(self) -> None:
        self._told.append(self._name)
        if self._error is not None:
            raise self._error


def test_R13_oldest_first() -> None:
    told: list[str] = []
    first = Thing("first", told)
    call_in_child(lambda: told.append("a function"))
    last = Thing("last", told)
    forks._after_fork()
    forks._after_fork()  # a child of the child
    assert told == ["first", "a function", "last"] * 2
    assert first is not last


def test_R13_objects_are_not_kept_alive(registered: dict[Any, Any]) -> None:
    told: list[str] = []
    Thing("gone", told)
    kept = Thing("kept", told)
    gc.collect()
    assert len(registered) == 1
    forks._after_fork()
    assert told == ["kept"]
    del kept


@pytest.mark.parametrize("error", [ValueError("first"), KeyboardInterrupt("first")])
def test_R13_none_prevents_the_others_and_the_first_error_is_reported(error: BaseException) -> None:
    told: list[str] = []
    with socket.socket() as sock:
        things = [Thing("first", told, error), Thing("second", told, LookupError("second"))]
        close_in_child(sock)
        things.append(Thing("last", told))
        with pytest.raises(type(error), match="first"):
            forks._after_fork()
        assert told == ["first", "second", "last"] and sock.fileno() == -1


def test_R13_a_descriptor_that_is_gone_is_as_good_as_closed() -> None:
    told: list[str] = []
    broken, other = Thing("socket", told, OSError(9, "Bad file descriptor")), Thing("other", told)
    forks._after_fork()
    assert told == ["socket", "other"] and broken is not other


def test_there_is_one_hook() -> None:
    package = Path(kalshi_feed.__file__).parent
    assert [
        path.name for path in package.rglob("*.py") if "os.register_at_fork" in path.read_text("utf-8")
    ] == ["forks.py"]
