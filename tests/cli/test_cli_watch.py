"""kalshi-feed watch: against an exchange in another process's place, and every way it can go wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kalshi_feed.cli.changes import change_text, event_json, message_json
from kalshi_feed.cli.commands import group
from kalshi_feed.events import FeedFault, FeedState, Gap, Lagged, StateChange
from kalshi_feed.messages import decode
from tests.support import wait_until

from .support import COMMAND, Access, environment, kalshi_feed, start

pytestmark = pytest.mark.slow

CHANGE = re.compile(
    r"\d\d:\d\d:\d\d\.\d{3} KX-A delta (yes|no) 0\.\d{4} [+-][\d,]+\.\d\d  \| LIVE yes 0\.\d{4} × .* / "
    r"0\.\d{4} × .*"
)


def test_plain_is_a_line_per_change(access: Access) -> None:
    result = kalshi_feed("watch", "KX-A", "--plain", "--seconds", "1", *access.options, **access.environ)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].endswith("CONNECTING: start") and lines[1].endswith("CONNECTED")
    assert " KX-A snapshot, " in lines[2]
    assert sum(bool(CHANGE.fullmatch(line)) for line in lines) > 20, result.stdout
    assert lines[-1].endswith("CLOSED: close")


def test_json_is_an_object_per_change(access: Access) -> None:
    result = kalshi_feed("watch", "KX-A", "--json", "--seconds", "1", *access.options, **access.environ)
    assert (result.returncode, result.stderr) == (0, "")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record.get("state") for record in records[:2]] == ["CONNECTING", "CONNECTED"]
    assert (records[0]["type"], records[-1]["state"]) == ("feed_state", "CLOSED")
    books = [record for record in records if "book" in record]
    assert books[0]["type"] == "orderbook_snapshot" and books[0]["market_ticker"] == "KX-A"
    levels = {side: {price: float(size) for price, size in books[0][side]} for side in ("yes", "no")}
    for record in books[1:]:  # folding them gives the book that is printed with them
        side, price = levels[record["side"]], record["price"]
        side[price] = round(side.get(price, 0) + float(record["delta"]), 2)
        if not side[price]:
            del side[price]
    assert len(books) > 20 and books[-1]["type"] == "orderbook_delta"
    price, size = max((float(price), size) for price, size in levels["yes"].items())
    assert [float(value) for value in books[-1]["book"]["yes_bid"]] == [price, size]
    assert books[-1]["book"]["status"] == "LIVE" and books[-1]["book"]["is_crossed"] is False


FRAMES: list[dict[str, Any]] = [
    {"type": "trade", "sid": 1, "seq": 2, "msg": {"market_ticker": "A", "count_fp": "3.00"}},
    {"type": "market_position", "sid": 1, "msg": {"market_ticker": "A", "position_fp": "3.00"}},
    {"type": "fill", "sid": 1, "msg": {"market_ticker": "A", "new": {"since": "today"}}},
    {"type": "news", "sid": 1, "msg": {"a": [1]}},
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["type"])
def test_json_is_what_to_dict_gives(frame: dict[str, Any]) -> None:
    message = decode(json.dumps(frame))
    assert json.loads(message_json(message, None)) == message.to_dict()


def test_json_of_what_the_feed_says() -> None:
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    events = (
        StateChange(FeedState.CONNECTED, FeedState.RECONNECTING, "reset"),
        Gap("orderbook_delta", 1, 5, 7, ("A",)),
        Lagged(3, ("A",), at),
        FeedFault("protocol", "bad frame"),
    )
    records = [json.loads(event_json(event, at)) for event in events]
    assert [record["type"] for record in records] == ["feed_state", "feed_gap", "feed_lagged", "feed_fault"]
    assert (records[0]["state"], records[1]["expected"], records[2]["dropped"], records[3]["kind"]) == (
        "RECONNECTING",
        5,
        3,
        "protocol",
    )
    for event, record in zip(events, records, strict=True):
        assert record.items() >= event.to_dict().items()
    assert {record["time"] for record in records} == {"2026-01-01T00:00:00+00:00"}
    assert records[1]["market_tickers"] == ["A"] and records[3]["text"] == "protocol: bad frame"


def test_other_channels_and_several_markets(access: Access) -> None:
    channels = ("--channel", "ticker", "--channel", "trade")
    result = kalshi_feed(
        "watch", "KX-A", "KX-B", "--plain", "--seconds", "1", *channels, *access.options, **access.environ
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert " KX-A ticker last " in result.stdout and " KX-B ticker last " in result.stdout
    assert " delta " not in result.stdout


def test_trades_without_a_book_show_trades(access: Access) -> None:
    words = ("watch", "KX-A", "--channel", "trade", "--seconds", "2.5")
    result = kalshi_feed(*words, *access.options, **access.environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"  CONNECTED  0 deltas \(0/s\)  [1-9]\d* trades  KX-A last 0\.\d{4}\n", result.stdout)
    assert "PENDING" not in result.stdout


def test_piped_without_plain_is_a_line_a_second(access: Access) -> None:
    result = kalshi_feed("watch", "KX-A", "KX-A", "--seconds", "1.2", *access.options, **access.environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 2
    assert all("CONNECTED" in line and "KX-A LIVE yes 0." in line for line in result.stdout.splitlines())


@pytest.mark.parametrize(("plain", "how"), [((), signal.SIGTERM), (("--plain",), signal.SIGINT)])
def test_signals_end_it_quietly(access: Access, plain: tuple[str, ...], how: signal.Signals) -> None:
    with start("watch", "KX-A", *plain, *access.options, **access.environ) as process:
        assert process.stdout is not None
        while "CONNECTED" not in process.stdout.readline():
            pass
        process.send_signal(how)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("how", ["--plain", "--json"])
def test_a_pipe_that_closes_ends_it(access: Access, how: str) -> None:
    with start("watch", "KX-A", how, *access.options, **access.environ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() and process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("how", ["--plain", "--channel=orderbook_delta"])
def test_a_full_disk_is_one_message(access: Access, how: str) -> None:
    program = f"exec {shlex.join(COMMAND)} watch KX-A {how} {shlex.join(access.options)} > /dev/full"
    result = subprocess.run(
        ["sh", "-c", program],
        env=environment(**access.environ),
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "Error: the output cannot be written: No space left on device\n"


def test_a_locale_without_the_signs_ends_nothing(access: Access) -> None:
    environ = access.environ | {"PYTHONIOENCODING": "cp1251"}
    result = kalshi_feed("watch", "KX-A", "--plain", "--seconds", "1", *access.options, **environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert " KX-A delta " in result.stdout and result.stdout.isascii()


WRONG = {
    "no environment": ((), {"KALSHI_API_KEY_ID": "", "KALSHI_PRIVATE_KEY_PATH": ""}, 2, "KALSHI_API_KEY_ID"),
    "no key": (
        (),
        {"KALSHI_API_KEY_ID": "", "KALSHI_PRIVATE_KEY_PATH": ""},
        2,
        "; or give --key-id and --key-file",
    ),
    "only a key id": (
        ("--key-id", "x"),
        {"KALSHI_PRIVATE_KEY_PATH": ""},
        2,
        "(the key itself); or give --key-file",
    ),
    "only a key file": ((), {"KALSHI_API_KEY_ID": ""}, 2, "KALSHI_API_KEY_ID; or give --key-id\n"),
    "no key file": (("--key-file", "/nope/key.pem"), {}, 2, "there is no private key file '/nope/key.pem'"),
    "unknown env": (("--env", "live"), {}, 2, "'live' is not one of 'production', 'demo'"),
    "unknown KALSHI_ENV": (("-",), {"KALSHI_ENV": "live"}, 2, "KALSHI_ENV is 'live'"),
    "two exchanges": (("--env", "demo"), {}, 2, "--env and --url"),
    "http": (("--url", "https://api.elections.kalshi.com/"), {}, 2, "the WebSocket url starts with wss://"),
    "http in the environment": (
        ("-",),
        {"KALSHI_URL": "https://api.elections.kalshi.com/"},
        2,
        "Error: KALSHI_URL starts with https://; the WebSocket url starts with wss://",
    ),
    "the key as the path": (
        ("--key-file", "-----BEGIN RSA PRIVATE KEY-----"),
        {},
        2,
        "Error: --key-file is the key itself",
    ),
    "no CA file": (("--ca-file", "/nope"), {}, 2, "the CA file '/nope' cannot be used: No such file"),
    "CA file is none": (
        ("--ca-file", os.devnull),
        {},
        2,
        "the CA file '/dev/null' cannot be used: it contains no PEM",
    ),
    "channel": (("--channel", "orderbook_snapshot"), {}, 2, "it is a message type, not a channel"),
    "old style": (("--channel", "ticker:KX-A"), {}, 2, "write KX-A --channel ticker"),
    "unknown channel": (
        ("--channel", "tickers"),
        {},
        2,
        "'--channel': unknown channel 'tickers': did you mean",
    ),
    "two in one": (("KX-A,KX-B",), {}, 2, "write each ticker as an argument of its own"),
    "a password in the url": (("-", "--url", "wss://a:b@x.example/"), {}, 2, "--url contains a user name"),
    "unknown key": (("--key-id", "unknown-key"), {}, 1, "answered the handshake with 401"),
    "not our CA": (("-", "--url", "URL"), {}, 1, "--ca-file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_one_message(access: Access, case: str) -> None:
    more, environ, code, text = WRONG[case]
    options = () if "-" in more else access.options
    arguments = [access.exchange.url if word == "URL" else word for word in more if word != "-"]
    environ = {"KALSHI_ENV": "", "KALSHI_PRIVATE_KEY": "", **access.environ, **environ}
    for plain in ((), ("--plain",)):
        result = CliRunner().invoke(group, ["watch", "KX-A", *plain, *options, *arguments], env=environ)
        assert result.exit_code == code, result.output
        assert "Error: " in result.output and text in result.output
        assert isinstance(result.exception, SystemExit), result.exception
        assert not re.search(r"[a-z]=\w|\w\(|market_tickers", result.output), result.output  # Python's terms


def test_an_error_in_a_process_of_its_own(access: Access) -> None:
    result = kalshi_feed("watch", "KX-A", *access.options)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: not set in the environment: KALSHI_API_KEY_ID and ")
    assert result.stderr.count("\n") == 1


def test_a_key_file_that_others_can_read_is_a_warning(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(access.key_file.read_bytes())
    file.chmod(0o644)
    words = ("watch", "KX-A", "--plain", "--seconds", "1", "--key-file", str(file), *access.options)
    result = kalshi_feed(*words, **access.environ)
    text = f"warning: other users can read the private key file '{file}' (mode 0644): chmod 600 it\n"
    assert (result.returncode, result.stderr) == (0, text)


def test_every_channel_is_shown(access: Access) -> None:
    """What has no place of its own on the screen: the type and the fields that are set."""
    exchange, channel = access.exchange, ("--channel", "market_lifecycle_v2")
    for how in ((), ("--plain",)):
        begun = len(exchange.commands)
        with start("watch", "KX-A", *channel, *how, *access.options, **access.environ) as process:
            assert process.stdout is not None
            wait_until(lambda begun=begun: len(exchange.commands) > begun, 20)  # type: ignore[misc]
            exchange.deactivate("KX-A")
            exchange.activate("KX-A")
            word = "event_type=activated" if how else "  2 other messages  "
            while word not in (line := process.stdout.readline()):
                assert line
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        if how:
            assert re.match(r"\S+ KX-A market_lifecycle_v2 ", line) and "None" not in line


def test_channels_of_reference_prices_bring_all_of_them(access: Access) -> None:
    exchange, names = access.exchange, ("cfbenchmarks_value", "pyth_value", "trade")
    channels = [word for name in names for word in ("--channel", name)]
    words = ("watch", "KX-A", *channels, "--plain", "--seconds", "15", *access.options)
    with start(*words, **access.environ) as process:
        assert process.stdout is not None
        wait_until(lambda: len(exchange.subscriptions) == len(names), 20)
        exchange.publish_index("BRTI", "65000.12")
        exchange.publish_underlying("Metal.XAU/USD", "2500.5")
        exchange.trade("KX-A", "yes", "0.50", "1")
        missing = {" cfbenchmarks_value ", "65000.12", " pyth_value ", "2500.5", " KX-A yes "}
        while missing:
            line = process.stdout.readline()
            assert line, missing
            missing = {word for word in missing if word not in line}
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_forbidden(access: Access) -> None:
    access.exchange.reject_next(1, 403)
    result = kalshi_feed("watch", "KX-A", "--plain", *access.options, **access.environ)
    assert result.returncode == 1
    assert "answered the handshake with 403" in result.stderr and "Traceback" not in result.stderr
    assert (
        result.stderr.endswith("(`kalshi-feed check` tests the connection step by step)\n")
        and result.stderr.count("\n") == 1
    )


def test_a_refused_subscription(access: Access) -> None:
    access.exchange.refuse_commands(14, "Permission denied", "subscribe")
    result = kalshi_feed("watch", "KX-A", "--channel", "trade", *access.options, **access.environ)
    assert result.returncode == 1
    assert "the exchange refused the subscription trade" in result.stderr and "Traceback" not in result.stderr


def test_messages_of_other_types_are_shown_raw() -> None:
    text = change_text(decode('{"type":"news","sid":1,"msg":{"a":"\\u001b[31m"}}'))
    assert text.startswith("news ") and "\x1b" not in text
