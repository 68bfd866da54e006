"""How commands and samples end: real signals (R37), a pipe that closes, a feed that never connects; what came
is counted."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from kalshi_feed.simulator import Exchange
from tests.samples.support import SAMPLES, free_port, sample, with_access
from tests.support import wait_until

from .support import PYTHON, Access, environment, kalshi_feed, start, started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")]
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
TWICE = (signal.SIGHUP, signal.SIGHUP)  # as a lost session sends it


def line_of(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(
        f"it ended and never said {text!r}: {process.stderr.read() if process.stderr else ''}"
    )


def rows_of(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
        return sum(
            int(database.execute(f"select count(*) from {table}").fetchone()[0])
            for table in ("deltas", "snapshots")
        )


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM,), (signal.SIGHUP,), TWICE], ids=["SIGTERM", "SIGHUP", "SIGHUP twice"]
)
def test_R37_record_stores_what_was_accepted(
    numbers: tuple[signal.Signals, ...], access: Access, tmp_path: Path
) -> None:
    file = tmp_path / "a.ndjson.gz"
    with start("record", "KX-A", "-o", str(file), "--json", *access.options, **access.environ) as process:
        wait_until(lambda: file.exists() and file.stat().st_size > 2000, 20, "some frames")
        for number in numbers:
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    summary = json.loads(out)
    replayed = json.loads(kalshi_feed("replay", str(file), "--json").stdout.splitlines()[-1])
    assert summary["missed"] == 0 and replayed["messages"] == summary["messages"] > 0


@BOTH
def test_R37_record_to_a_store(number: signal.Signals, access: Access, tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    words = ("record", "KX-A", "--to", f"sqlite:///{file}", "--json", *access.options)
    with start(*words, **access.environ) as process:
        wait_until(lambda: file.exists() and file.stat().st_size > 0, 20, "the file")
        wait_until(lambda: _has_rows(file), 20, "rows")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    summary = json.loads(out)
    assert (summary["unwritten"], summary["dropped"]) == (0, 0) and summary["rows"] >= rows_of(file) > 0


def _has_rows(file: Path) -> bool:
    try:
        return rows_of(file) > 0
    except sqlite3.OperationalError:
        return False


@BOTH
def test_R37_batch_to_sqlite(number: signal.Signals, tmp_path: Path) -> None:
    """With all of a batch in memory."""
    file = tmp_path / "deltas.db"
    script = str(SAMPLES / "batch_to_sqlite.py")
    options = ("KX-A", "--file", str(file), "--batch", "100000", "--every", "1000")
    with Exchange(markets=("KX-A",), rate=200) as exchange:
        environ = with_access(Access(exchange, tmp_path / "access"))
        with started(script, *options, PYTHONWARNINGS="error", **environ) as process:
            wait_until(lambda: exchange.subscriptions, 20, "a subscription")
            exchange.quiesce()
            exchange.send_bytes(b"\x89\x00")  # a ping, behind everything else
            wait_until(lambda: exchange.pongs, 10, "all to be read")
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    found = re.fullmatch(r"received (\d+) rows, wrote (\d+), dropped 0\n", out)
    assert found is not None, out
    assert int(found[1]) == int(found[2]) == rows_of(file) > 0


@BOTH
@pytest.mark.parametrize("name", ["print_deltas.py", "wait_for_book.py", "prometheus_metrics.py"])
def test_R37_samples_that_print(name: str, number: signal.Signals, access: Access) -> None:
    before = len(access.exchange.handshakes)
    with started(
        str(SAMPLES / name),
        "KX-A",
        *(("--listen", "127.0.0.1:0") if "prom" in name else ()),
        **with_access(access),
    ) as process:
        line_of(process, "http://" if "prom" in name else "KX-A")
        if "prom" in name:
            wait_until(lambda: len(access.exchange.handshakes) > before, 10, "a connection")
            wait_until(lambda: access.exchange.subscriptions, 10, "its subscription")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    if name == "print_deltas.py":
        assert out.splitlines()[-1] == "feed CLOSED close"


@BOTH
def test_R37_flask_app_leaves_no_key_behind(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    command = (str(SAMPLES / "flask_app.py"), "--simulate", "--port", str(port))
    with started(*command, TMPDIR=str(tmp_path)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Running on" in line:
                break
        assert list(tmp_path.rglob("key.pem"))
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in err
    assert not list(tmp_path.rglob("*.pem"))


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM,), (signal.SIGHUP,), TWICE], ids=["SIGTERM", "SIGHUP", "SIGHUP twice"]
)
def test_R37_exchange_leaves_no_key_behind(numbers: tuple[signal.Signals, ...], tmp_path: Path) -> None:
    with start("exchange", "--markets", "1", TMPDIR=str(tmp_path)) as process:
        line_of(process, "Ctrl-C")
        assert list(tmp_path.rglob("key.pem"))
        for number in numbers:
            process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert not list(tmp_path.iterdir())


@BOTH
@pytest.mark.parametrize("how", ["watch --plain", "watch", "demo", "replay"])
def test_R37_commands_that_show(how: str, number: signal.Signals, access: Access, tmp_path: Path) -> None:
    file = str(tmp_path / "a.ndjson")
    words = {
        "watch --plain": ("watch", "KX-A", "--plain", *access.options),
        "watch": ("watch", "KX-A", *access.options),
        "demo": ("demo", "--markets", "1"),
        "replay": ("replay", file, "--speed", "0.01", "--plain"),
    }
    if how == "replay":
        record = kalshi_feed(
            "record", "KX-A", "-o", file, "--seconds", "3", *access.options, **access.environ
        )
        assert record.returncode == 0, record.stderr
    with start(*words[how], **access.environ) as process:
        line_of(process, "KXSIM-001 " if how == "demo" else "KX-A")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert how != "demo" or "books equal to the exchange's: 1/1" in out


def test_R37_nohup_stays(tmp_path: Path) -> None:
    code = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code += "os.execv(sys.executable, sys.orig_argv[:1] + sys.argv[1:])"
    with started(
        "-c", code, "-m", "kalshi_feed", "exchange", "--markets", "1", TMPDIR=str(tmp_path)
    ) as process:
        line_of(process, "Ctrl-C")
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


# -- a pipe that closes --------------------------------------------------------------------------------------


PIPES = {
    "watch --plain": ["-m", "kalshi_feed", "watch", "KX-A", "--plain", "--seconds", "20"],
    "watch --json": ["-m", "kalshi_feed", "watch", "KX-A", "--json", "--seconds", "20"],
    "watch": ["-m", "kalshi_feed", "watch", "KX-A", "--seconds", "20"],
    "exchange": ["-m", "kalshi_feed", "exchange", "--seconds", "20"],
    "demo": ["-m", "kalshi_feed", "demo", "--markets", "1", "--seconds", "20"],
    "print_deltas.py": [str(SAMPLES / "print_deltas.py"), "KX-A", "KX-B", "--seconds", "20"],
    "wait_for_book.py": [str(SAMPLES / "wait_for_book.py"), "KX-A", "--seconds", "20"],
}


@pytest.mark.parametrize("buffered", [False, True], ids=["unbuffered", "buffered"])
@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_that_closes_is_no_traceback(name: str, buffered: bool, access: Access) -> None:
    environ = environment(**with_access(access))
    if buffered:
        del environ["PYTHONUNBUFFERED"]
    with subprocess.Popen(
        [PYTHON, *PIPES[name]], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()  # as `head -1` does
        if name == "exchange":  # it says nothing until a client connects
            process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        err = process.stderr.read()
    assert err == b"", err.decode()
    assert process.returncode == (0 if name.endswith(".py") or name == "exchange" else 141)


@pytest.mark.parametrize(
    "words", [("watch", "KX-A", "--plain"), ("watch", "KX-A", "--json"), ("watch", "KX-A")], ids=" ".join
)
def test_ctrl_c_of_a_pipe_is_no_traceback(words: tuple[str, ...], access: Access) -> None:
    """It ends the reader as well, at the same moment."""
    environ = environment(**access.environ)
    del environ["PYTHONUNBUFFERED"]
    for _ in range(3):
        command = [PYTHON, "-m", "kalshi_feed", *words, *access.options]
        with subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() and process.stdout.readline()
            process.stdout.close()
            process.send_signal(signal.SIGINT)
            err = process.stderr.read()
        assert err == b"", err.decode()


# -- a feed that never connects ------------------------------------------------------------------------------


@pytest.fixture
def unreachable(access: Access) -> dict[str, str]:
    """An environment that leads to a port where nothing listens."""
    return with_access(access) | {"KALSHI_URL": f"wss://127.0.0.1:{free_port()}/trade-api/ws/v2"}


@pytest.mark.parametrize(
    "how", ["watch", "watch --plain", "watch --json", "record", "record --to", "print_deltas.py"]
)
def test_never_connected_is_exit_code_1_and_the_reason(
    how: str, unreachable: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "a.ndjson"
    words = {
        "watch": ("watch", "KX-A"),
        "watch --plain": ("watch", "KX-A", "--plain"),
        "watch --json": ("watch", "KX-A", "--json"),
        "record": ("record", "KX-A", "-o", str(file)),
        "record --to": ("record", "KX-A", "--to", f"sqlite:///{tmp_path / 'a.db'}"),
    }
    if how in words:
        result = kalshi_feed(*words[how], "--seconds", "1", **unreachable)
    else:
        result = sample(how, "KX-A", "--seconds", "1", **unreachable)
    assert result.returncode == 1
    assert (
        "never connected: " in result.stderr
        and "refused" in result.stderr
        and "Traceback" not in result.stderr
    )
    assert not file.exists()


def test_never_connected_until_ctrl_c(access: Access, tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        environ = with_access(access) | {"KALSHI_URL": f"wss://127.0.0.1:{silent.getsockname()[1]}/"}
        with start("record", "KX-A", "-o", str(file), **environ) as process:
            peer, _ = silent.accept()
            assert file.exists()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
            peer.close()
    assert (
        process.returncode == 1
        and "never connected: the first attempt had not finished" in err
        and "Traceback" not in err
    )
    assert not file.exists()


def test_a_refused_key_leaves_no_file_in_the_way(access: Access, tmp_path: Path) -> None:
    words = ("record", "KX-A", "-o", str(tmp_path / "a.ndjson"), "--seconds", "4", *access.options)
    refused = kalshi_feed(*words, **access.environ | {"KALSHI_API_KEY_ID": "unknown-key"})
    assert refused.returncode == 1 and "401" in refused.stderr
    assert not os.listdir(tmp_path)
    again = kalshi_feed(*words, **access.environ)
    assert (again.returncode, again.stderr) == (0, "")


def test_a_refused_subscription_leaves_no_file_in_the_way(access: Access, tmp_path: Path) -> None:
    words = ("record", "KX-A", "-o", str(tmp_path / "a.ndjson"), "--seconds", "4", "--channel", "trade")
    access.exchange.refuse_commands(14, "Permission denied", "subscribe")
    refused = kalshi_feed(*words, *access.options, **access.environ)
    assert refused.returncode == 1 and "refused the subscription trade" in refused.stderr
    assert not os.listdir(tmp_path)


# -- kalshi-feed exchange: how to reach it -------------------------------------------------------------------


def exported(process: subprocess.Popen[str]) -> dict[str, str]:
    """The export block, as a shell reads it."""
    assert process.stdout is not None
    lines = []
    while "Ctrl-C" not in (line := process.stdout.readline()):
        assert line
        lines.append(line)
    block = [line for line in lines if line.strip().startswith("export ")]
    names = ("KALSHI_URL", "KALSHI_CA_FILE", "KALSHI_API_KEY_ID", "KALSHI_PRIVATE_KEY_PATH")
    shown = subprocess.run(
        ["sh", "-c", "".join(block) + "".join(f'echo "${name}"\n' for name in names)],
        capture_output=True,
        text=True,
        env={},
    )
    return dict(zip(names, shown.stdout.splitlines(), strict=True))


def test_a_restart_with_kept_keys_is_the_same_exchange(tmp_path: Path) -> None:
    folder, port = tmp_path / "the keys", str(free_port())
    words = ("exchange", "--markets", "1", "--port", port, "--keys", str(folder))
    found = []
    for _ in range(2):
        with start(*words, TMPDIR=str(tmp_path)) as process:
            found.append(exported(process))
            # the first one's
            watch = kalshi_feed("watch", "KXSIM-001", "--plain", "--seconds", "4", **found[0])
            assert (watch.returncode, watch.stderr) == (0, "")
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
    assert found[0] == found[1]
    assert sorted(os.listdir(folder)) == ["ca.pem", "key.pem", "server.pem"]
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        0o600
    } and folder.stat().st_mode & 0o777 == 0o700
    assert os.listdir(tmp_path) == ["the keys"]


@pytest.mark.parametrize("how", ["another's certificate", "one is missing", "no key", "a user's key alone"])
def test_kept_keys_that_do_not_match_are_refused(how: str, access: Access, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    if how == "a user's key alone":
        folder.mkdir()
        (folder / "key.pem").write_text("precious")
    else:
        assert kalshi_feed("exchange", "--seconds", "0.1", "--keys", str(folder)).returncode == 0
    if how == "another's certificate":
        (folder / "ca.pem").write_bytes(access.ca_file.read_bytes())
    elif how == "one is missing":
        (folder / "server.pem").unlink()
    elif how == "no key":
        (folder / "key.pem").write_text("nothing")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    result = kalshi_feed("exchange", "--seconds", "0.1", "--keys", str(folder))
    assert result.returncode == 2 and str(folder) in result.stderr and "Traceback" not in result.stderr, (
        result.stderr
    )
    assert ("do not match" if how in ("another's certificate", "no key") else "key.pem") in result.stderr
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_keys_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = kalshi_feed("exchange", "--seconds", "0.1", "--keys", str(tmp_path / "file" / "x"))
    assert (
        result.returncode == 1
        and "the keys cannot be kept in" in result.stderr
        and "Traceback" not in result.stderr
    )
