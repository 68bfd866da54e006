from __future__ import annotations

import socket

from kalshi_feed.connection.resolve import Lookup, _alternate, literal_address
from tests.support import wait_until


def test_literal_addresses_need_no_lookup() -> None:
    assert literal_address("127.0.0.1", 5) == (socket.AF_INET, ("127.0.0.1", 5))
    assert literal_address("::1", 5) == (socket.AF_INET6, ("::1", 5, 0, 0))
    assert literal_address("fe80::1%lo", 5) is None
    assert literal_address("localhost", 5) is None


def test_lookup_reports_when_it_is_done() -> None:
    done: list[bool] = []
    lookup = Lookup("localhost", 80, lambda: done.append(True))
    lookup.start()
    wait_until(lambda: done)
    assert isinstance(lookup.result, list) and lookup.result[0][1][1] == 80


def test_an_impossible_name_is_an_error_too() -> None:
    done: list[bool] = []
    lookup = Lookup("x" * 70 + ".example", 80, lambda: done.append(True))
    lookup.start()
    wait_until(lambda: done)
    assert isinstance(lookup.result, (UnicodeError, OSError))


def test_families_alternate() -> None:
    six, four = int(socket.AF_INET6), int(socket.AF_INET)
    addresses = [(six, "a"), (six, "b"), (six, "c"), (four, "d")]
    assert [address for _, address in _alternate(addresses)] == ["a", "d", "b", "c"]
