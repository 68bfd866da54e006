"""kalshi-feed relay, as a process with a real Redis: what it writes is read, what it says, and how it ends;
``check`` of a relay, step by step."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kalshi_feed import BookStatus, KalshiFeed
from kalshi_feed.cli.check_relay import RELAY_STEPS
from kalshi_feed.cli.commands import group
from tests.relay.redis_server import RedisServer
from tests.support import wait_until

from .checks import CLEAN, says
from .support import Access, kalshi_feed, start

pytestmark = pytest.mark.slow

STREAM = "kalshi_feed:{main}:stream"
KEYS = "KALSHI_API_KEY_ID", "KALSHI_PRIVATE_KEY_PATH"


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@contextmanager
def relaying(access: Access, *words: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A relay of the exchange, running."""
    with start("relay", *words, *access.options, **(access.environ | environ)) as process:
        yield process


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line on standard error that contains it. At least its progress comes every 10 s."""
    assert process.stderr is not None
    deadline, said = time.monotonic() + 20, []
    for line in process.stderr:
        said.append(line)
        if text in line:
            return line
        if time.monotonic() > deadline:
            break
    pytest.fail(f"it has not said {text!r}, but {said}")


def has_written(server: RedisServer) -> None:
    client = server.client()
    wait_until(lambda: client.xlen(STREAM) > 0, 20, "the relay to write")


# -- the relay -----------------------------------------------------------------------------------------------


def test_what_it_writes_is_read_and_what_it_says(access: Access, redis_server: RedisServer) -> None:
    """A market by name, and one that only a consumer asks for; SIGTERM ends it with its summary."""
    url = redis_server.url
    with relaying(access, "KX-A", "--json", KALSHI_RELAY=url) as process:
        has_written(redis_server)
        with KalshiFeed.from_relay(url) as feed:
            assert feed.wait_for_book("KX-A", 10).status is BookStatus.LIVE
            assert feed.wait_for_book("KX-B", 10).status is BookStatus.LIVE
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    summary = json.loads(out)
    assert summary["relay"] == "main" and summary["missed"] == summary["reconnects"] == 0
    assert summary["messages"] > 0 < summary["entries"] <= summary["bytes"]


def test_a_second_relay_a_standby_and_a_redis_that_is_away(access: Access, redis_server: RedisServer) -> None:
    to = ("--to", redis_server.url, "--name", "nfl")
    with relaying(access, "KX-A", *to) as first:
        said = line_with(first, "relay nfl writes")
        url = redis_server.url.removesuffix("/0")
        assert f"it is read with KALSHI_RELAY={url} KALSHI_RELAY_NAME=nfl\n" in said
        second = kalshi_feed("relay", *to, *access.options, **access.environ)
        assert (second.returncode, second.stdout) == (1, "")
        assert "Error: another relay named 'nfl' writes already (pid " in second.stderr
        with relaying(access, *to, "--standby") as standby:
            line_with(standby, "relay nfl is a standby: another one writes")
            first.send_signal(signal.SIGHUP)
            out, _ = first.communicate(timeout=20)
            assert first.returncode == 0 and "relay: nfl\n" in out
            line_with(standby, "relay nfl writes")
            redis_server.kill()
            line_with(standby, "Redis at redis://")
            redis_server.start()
            line_with(standby, "Redis is back")
            standby.send_signal(signal.SIGINT)
            _, err = standby.communicate(timeout=20)
    assert standby.returncode == 0 and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 2, "where to? Give --to redis://HOST or set KALSHI_RELAY"),
        (("--to", "redis://me:s3cret@host"), 2, "--to contains a password, and other users of this machine"),
        (("--to", "host:s3cret"), 2, "--to must start with redis://, rediss:// (TLS) or unix://"),
        (("--to", "redis://host", "--redis-ca-file", "x.pem"), 2, "--redis-ca-file is for rediss:// only"),
        (("--to", "redis://host", "--redis-password-file", "/no"), 2, "--redis-password-file names the file"),
        (("--to", "redis://host", "--name", "a b"), 2, "--name must be at most 64 letters"),
        (("--to", "redis://host", "--channel", "fill"), 2, "--channel fill is about your account: add --acc"),
        (
            ("--to", "redis://host", "--channel", "orderbook_delta"),
            2,
            "--channel orderbook_delta needs a TICK",
        ),
        (("--to", "redis://host", "--allow", ""), 2, "--allow must be patterns such as 'KXNFL*'"),
        (("--to", "redis://127.0.0.1:1"), 1, "nothing is listening there"),
    ],
)
def test_what_cannot_be_done(words: tuple[str, ...], code: int, text: str, access: Access) -> None:
    environ = {**CLEAN, **access.environ, "KALSHI_RELAY": ""}
    result = CliRunner().invoke(group, ["relay", *words, *access.options], env=environ)
    assert result.exit_code == code and text in " ".join(result.output.split()), result.output
    assert "s3cret" not in result.output


# -- commands that read from it ------------------------------------------------------------------------------


def test_watch_and_record_in_place_of_a_key(
    access: Access, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Others have asked for KX-B and tickers as well; a consumer gets these, and the command hides them."""
    url = redis_server.url
    with relaying(access, "KX-A", "KX-B", "--channel", "ticker", "--channel", "orderbook_delta", "--to", url):
        has_written(redis_server)
        watched = kalshi_feed("watch", "KX-A", "--plain", "--seconds", "2", KALSHI_RELAY=url)
        assert (watched.returncode, watched.stderr) == (0, "")
        assert " KX-A delta " in watched.stdout
        assert " KX-B " not in watched.stdout and " ticker" not in watched.stdout
        file = tmp_path / "a.ndjson"
        words = ("record", "KX-A", "-o", str(file), "--seconds", "2", "--json")
        recorded = kalshi_feed(*words, KALSHI_RELAY=url)
        assert (recorded.returncode, recorded.stderr) == (0, "")
        assert json.loads(recorded.stdout)["messages"] > 100
        with KalshiFeed.replay(file) as feed:
            feed.run_forever()
            assert feed.stats().messages["orderbook_delta"] > 100
        refused = kalshi_feed("watch", "KX-NO", "--plain", "--seconds", "10", KALSHI_RELAY=url)
    assert refused.returncode == 1 and "KX-NO" in refused.stderr
    absent = kalshi_feed(
        "watch", "KX-A", "--plain", "--seconds", "2", KALSHI_RELAY=url, KALSHI_RELAY_NAME="x"
    )
    assert absent.returncode == 1
    assert "Error: never connected: no relay 'x' writes to redis://127.0.0.1:" in absent.stderr


# -- check ---------------------------------------------------------------------------------------------------


def checked(url: str, *words: str, **environ: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps by name, and the one that failed."""
    env = {**CLEAN, **dict.fromkeys(KEYS), "KALSHI_RELAY": url, **environ}
    result = CliRunner().invoke(group, ["check", "--json", "--timeout", "5", *words], env=env)
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    report = json.loads(result.output)
    steps = {step["step"]: step for step in report["steps"]}
    assert list(steps) == list(RELAY_STEPS)
    assert result.exit_code == (0 if report["ok"] else 1)
    return steps, steps.get(report["failed"], {})


def test_check_of_a_relay(access: Access) -> None:
    """All is well; then less and less of it."""
    keys = "~kalshi_feed:{main}:*"
    users = {
        "default": f">s3cret {keys} +@all",
        "reader": ">s3cret %R~kalshi_feed:{main}:* +@read +@connection",
        "stranger": ">s3cret ~other:* +@all",
    }
    with RedisServer(users=users) as server:
        password = {"KALSHI_RELAY_PASSWORD": "s3cret"}
        _, failed = checked(server.url)
        assert failed["step"] == "redis" and "password" in says(failed)
        _, failed = checked(server.url, **password)
        assert failed["step"] == "writer" and "there is no relay 'main' in this Redis" in says(failed)
        assert f"kalshi-feed relay TICKER --to {server.url.removesuffix('/0')}" in says(failed)
        with relaying(access, "KX-A", "--to", server.url, **password) as process:
            has_written(server)
            with KalshiFeed.from_relay(server.url, password="s3cret") as feed:
                feed.wait_for_book("KX-A", 20)
            steps, failed = checked(server.url, "KX-B", **password)
            assert failed == {}, failed
            assert "Redis " in steps["redis"]["found"]
            # KX-A, and KX-B if the relay has it by then: the request is under way
            assert re.search("1 of 1 book LIVE|[12] of 2 books LIVE", steps["feed"]["found"])
            assert "levels, yes 0." in steps["snapshot"]["found"] and steps["writer"]["status"] == "ok"
            steps, failed = checked(server.address("reader"), **password)
            assert failed == {} and steps["wish"]["status"] == "warning"
            assert "gets those that the relay has" in steps["wish"]["found"]
            _, failed = checked(server.address("stranger"), **password)
            assert failed["step"] == "read" and "stranger" in says(failed)
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: checked(server.url, **password)[1].get("step") == "writer", 10)
            assert "no relay writes: its last entry is " in says(checked(server.url, **password)[1])
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        _, failed = checked(server.url, **password)
        assert failed["step"] == "writer" and "the relay was closed" in says(failed)
        server.client().xadd(STREAM, {"k": "?"}, id="9999999999999-1")
        _, failed = checked(server.url, **password)
        assert failed["step"] == "read" and "something other than a relay writes there" in says(failed)
        server.kill()
        _, failed = checked(server.url, **password)
        assert failed["step"] == "redis" and "nothing is listening there" in says(failed)
    _, failed = checked("redis://h", KALSHI_API_KEY_ID="x")
    assert failed["step"] == "relay" and "KALSHI_API_KEY_ID are both set" in says(failed)
