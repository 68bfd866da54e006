"""The echo client echoes, and the verdicts are strict. Otherwise ``python -m tests.autobahn`` proves
nothing."""

from __future__ import annotations

import pytest

from tests.autobahn.__main__ import report
from tests.autobahn.client import FuzzingClient
from tests.connection.raw_server import BINARY, CLOSE, CONT, TEXT, Peer, RawServer, frame

RIGHT = {"behavior": "OK", "behaviorClose": "OK"}


def test_echoes_text_and_binary_before_what_follows() -> None:
    echoed: list[tuple[int, bytes]] = []

    def server(peer: Peer) -> None:
        fragments = frame(BINARY, b"\xff", fin=False) + frame(CONT, b"\xfe")
        # 3: a reserved opcode
        peer.handshake(behind=frame(TEXT, b"1") + fragments + frame(BINARY, b"") + frame(3))
        echoed.extend(peer.read_frame() for _ in range(4))
        assert peer.request.startswith(b"GET /runCase?case=7&agent=kalshi_feed HTTP/1.1\r\n")

    with RawServer(server) as raw:
        FuzzingClient(f"ws://127.0.0.1:{raw.port}").play(7)
    assert echoed == [(TEXT, b"1"), (BINARY, b"\xff\xfe"), (BINARY, b""), (CLOSE, (1002).to_bytes(2, "big"))]


@pytest.mark.parametrize(
    ("result", "last_line"),
    [
        (RIGHT, '{"ok": 1, "non_strict": 0, "informational": 0, "failed": 0}'),
        ({**RIGHT, "behavior": "NON-STRICT"}, '{"ok": 0, "non_strict": 1, "informational": 0, "failed": 0}'),
        (
            {**RIGHT, "behaviorClose": "UNCLEAN"},
            '{"ok": 0, "non_strict": 0, "informational": 0, "failed": 1}',
        ),
        ({**RIGHT, "behavior": "WHATEVER"}, '{"ok": 0, "non_strict": 0, "informational": 0, "failed": 1}'),
    ],
)
def test_verdicts(result: dict[str, str], last_line: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = report({"1.1.1": result}, 1)
    assert capsys.readouterr().out.splitlines()[-1] == last_line
    assert status == ('"failed": 0' not in last_line)


def test_a_case_that_was_not_played_has_failed() -> None:
    assert report({"1.1.1": RIGHT}, 2) == 1
