"""README.md and the guides say what is true: their Python runs against the simulator, their errors exist."""

from __future__ import annotations

import builtins
import contextlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kalshi_feed
import kalshi_feed.contrib.process
import kalshi_feed.messages
import kalshi_feed.relay
import kalshi_feed.rest
import kalshi_feed.sinks
from kalshi_feed import Credentials, FeedFault, FeedState, KalshiFeed, KalshiFeedError
from kalshi_feed.simulator import Exchange

from . import messages_table
from .relay import acl
from .relay.redis_server import RedisServer
from .support import wait_until

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")
GUIDES = sorted((TOP / "samples").glob("*.md"))
PAGES = (TOP / "README.md", *GUIDES, TOP / "tests" / "README.md", TOP / "tests" / "benchmarks" / "README.md")
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def blocks_of(text: str) -> list[tuple[int, str, str]]:
    """The fenced blocks: line, language, content."""
    fenced = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text[: found.start()].count("\n") + 2, found[1], found[2]) for found in fenced]


BLOCKS = blocks_of(README)
TICKER = "KXNFLGAME-25OCT13-SF-KC"
SERIES = "KXBTC15M"
DEMO = (
    "python3 -m venv .venv && .venv/bin/pip install -q '.[demo]' && .venv/bin/kalshi-feed demo --seconds 10\n"
)
TESTS = ".venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest -q\n"


def python_blocks() -> list[Any]:
    """Those of all pages. Code that shows another library, and is not run, is marked ``py``."""
    return [
        pytest.param(page.name, line, code, id=f"{page.relative_to(TOP)} line {line}")
        for page, text in TEXTS.items()
        for line, kind, code in blocks_of(text)
        if kind == "python"
    ]


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """The exchange that every feed in the pages' code connects to."""
    with Exchange(markets=(TICKER, "A", "B", "C"), rate=200) as exchange:
        key_file, ca_file = exchange.write_credentials(tmp_path)
        for name in ("KALSHI_ENV", "KALSHI_PRIVATE_KEY", "KALSHI_PRIVATE_KEY_PASSWORD"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("KALSHI_API_KEY_ID", exchange.api_key_id)
        monkeypatch.setenv("KALSHI_PRIVATE_KEY_PATH", str(key_file))
        monkeypatch.setenv("KALSHI_URL", exchange.url)
        monkeypatch.setenv("KALSHI_REST_URL", exchange.rest_url)
        monkeypatch.setenv("KALSHI_CA_FILE", str(ca_file))
        yield exchange


def local_feed(exchange: Exchange) -> type[KalshiFeed]:
    class Local(KalshiFeed):
        changed: threading.Event | None = None  # set once on_market is called, if it follows a series

        def __init__(self, credentials: Credentials, **arguments: Any) -> None:
            if "127.0.0.1" not in arguments.get("url", ""):  # an exchange that the code makes itself
                arguments |= {"url": exchange.url, "ssl_context": exchange.ssl_context}
            arguments.pop("proxy", None)  # there is none
            super().__init__(credentials, **arguments)

        def follow(self, **arguments: Any) -> Any:
            changed = self.changed = threading.Event()
            self.on_market(lambda change: changed.set())
            return super().follow(**arguments)

        def run_forever(self) -> None:
            """Until a few messages have come, in place of Ctrl-C; a replay to its end. No callback raises."""
            faults: list[FeedFault] = []
            self.on_error(faults.append)
            if self.replayed is not None:
                super().run_forever()
            else:
                come = threading.Semaphore(0)
                self.on_message(lambda message: come.release())
                for _ in range(3):
                    assert come.acquire(timeout=5), "no message has come"
                assert self.changed is None or self.changed.wait(5), "nothing has happened to a market"
            assert [fault.error for fault in faults if fault.kind == "callback"] == []

    return Local


@contextlib.contextmanager
def relayed(feed: KalshiFeed, monkeypatch: pytest.MonkeyPatch, code: str) -> Iterator[KalshiFeed]:
    """Give the code of the relay's guide a Redis, a relay of ``feed`` unless it makes one itself, and a
    consumer, which is yielded."""
    with RedisServer() as server, contextlib.ExitStack() as stack:

        class LocalRelay(kalshi_feed.relay.Relay):
            def __init__(self, feed: KalshiFeed, url: str, **arguments: Any) -> None:
                super().__init__(feed, server.url, **arguments)

        from_relay = type(feed).from_relay

        def local(url: str, **arguments: Any) -> KalshiFeed:
            consumer = from_relay(server.url, **arguments)
            stack.callback(consumer.close)
            return consumer

        monkeypatch.setattr(kalshi_feed.relay, "Relay", LocalRelay)
        monkeypatch.setattr(type(feed), "from_relay", local)
        if "Relay(" in code:
            yield feed
        else:
            stack.enter_context(LocalRelay(feed, "redis://localhost", account=True))
            consumer = stack.enter_context(local("redis://localhost"))
            consumer.wait_until_connected(5)
            yield consumer


@pytest.mark.parametrize(("page", "line", "code"), python_blocks())
def test_python_runs(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch, page: str, line: int, code: str, tmp_path: Path
) -> None:
    compiled = compile("\n" * (line - 1) + code, page, "exec")
    for module in ("pandas",):  # of the extra "tables"
        if f"import {module}" in code:
            pytest.importorskip(module)
    if "def test_" in code:
        (tmp_path / "test_readme_example.py").write_text(code, encoding="utf-8")
        run_pytest(tmp_path)
        return
    feed_class = local_feed(exchange)
    monkeypatch.setattr(kalshi_feed, "KalshiFeed", feed_class)
    monkeypatch.chdir(tmp_path)
    faults: list[Any] = []
    if SERIES in code:
        exchange.run_series(SERIES, every=2, markets=2)
    with feed_class(exchange.credentials) as feed, contextlib.ExitStack() as stack:
        feed.on_error(faults.append)
        feed.subscribe("orderbook_delta", TICKER)
        if page == "relay.md":
            feed.wait_for_book(TICKER, timeout=5)
            feed = stack.enter_context(relayed(feed, monkeypatch, code))
        names: dict[str, Any] = {
            "feed": feed,
            "book": feed.wait_for_book(TICKER, timeout=5),
            "KalshiFeed": feed_class,
        }
        if "KalshiFeed.replay(" in code:
            with feed.record("game.ndjson.gz"):
                if SERIES in code:
                    feed.follow(series=SERIES).wait(5)
                feed.wait_for("orderbook_delta", timeout=5)
        exec(compiled, names)
        if feed.state is not FeedState.CLOSED:  # a page may close it
            feed.wait_for("orderbook_delta", timeout=5)
        names["feed"].close()
    assert faults == []


def test_the_first_program_ends_with_its_pipe_as_the_guide_says(exchange: Exchange, tmp_path: Path) -> None:
    first = next(code for _, kind, code in BLOCKS if kind == "python")
    guide = TEXTS[TOP / "samples" / "troubleshooting.md"].split("\n## Pipes\n")[1]
    code = next(code for _, kind, code in blocks_of(guide) if kind == "python")
    program = tmp_path / "program.py"
    program.write_text(
        first.replace("    feed.subscribe(", f"{textwrap.indent(code, '    ')}\n    feed.subscribe(")
    )
    environ = os.environ | {"PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, str(program)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stdout.readline()
            process.stdout.close()
            assert process.wait(15) == 0
        finally:
            process.kill()
        assert "BrokenPipeError" in process.stderr.read()


def test_the_flask_guides_routes_answer(exchange: Exchange) -> None:
    """So do those for a market that is not served, and the first request, before the first snapshot."""
    pytest.importorskip("flask")
    code = next(code for _, kind, code in blocks_of(TEXTS[TOP / "samples" / "flask.md"]) if kind == "python")
    names: dict[str, Any] = {}
    exec(code, names)
    client = names["app"].test_client()
    try:
        first = client.get(f"/spread/{TICKER}")
        assert first.status_code == 200 and float(first.get_json()["spread"]) > 0, first.get_json()
        assert client.get("/spread/NOPE").status_code == 404
        assert client.get("/stats").get_json()["state"] == "CONNECTED"
    finally:
        names["feeds"].close(names["app"])


def run_pytest(folder: Path) -> None:
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(TOP)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "kalshi_feed.simulator.pytest_plugin", str(folder)]
    result = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)
    assert " passed" in result.stdout and result.returncode == 0, result.stdout + result.stderr


def test_the_samples_index_names_every_sample() -> None:
    index = (TOP / "samples" / "README.md").read_text(encoding="utf-8")
    there = {path.name for path in (TOP / "samples").iterdir() if path.suffix in (".py", ".md", ".json")} - {
        "README.md"
    }
    assert set(re.findall(r"\]\(([^)#]+)\)", index)) == there


def test_the_rules_for_users_of_redis_are_those_that_are_tried() -> None:
    guide = TEXTS[TOP / "samples" / "relay.md"]
    rules = [line.split(" ", 4) for line in guide.splitlines() if line.startswith("user ")]
    assert {name: rule.split() for _, name, _, _, rule in rules[1:]} == {
        "relay": acl.RELAY.split(),
        "desk": acl.WISHES.split(),
        "reader": acl.READER.split(),
        "owner": acl.ACCOUNT.split(),
    }


def test_set_up_commands() -> None:
    """Alone in a block each, and the first ones: .ci/run takes them from here."""
    assert [code for _, kind, code in BLOCKS if kind == "bash"][:2] == [DEMO, TESTS]


def test_commands_exist() -> None:
    from click.testing import CliRunner

    from kalshi_feed.cli.commands import group

    commands = []
    for text in TEXTS.values():
        lines = [line for _, kind, code in blocks_of(text) if kind == "bash" for line in code.splitlines()]
        commands += [line.partition("kalshi-feed ")[2] for line in lines if "/kalshi-feed " in line]
        commands += re.findall(r"`kalshi-feed ([^`…]+)`", text)
    assert len(commands) >= 15
    for command in commands:  # with --help instead of the arguments, the options are still checked
        name, *words = shlex.split(command.partition(" | ")[0])
        options = [word for word in words if word.startswith("--")]
        output = CliRunner().invoke(group, [name, "--help"] if not name.startswith("-") else [name]).output
        assert output.startswith("Usage:") and all(option in output for option in options), command


def test_names_in_the_text_exist(exchange: Exchange) -> None:
    feed = local_feed(exchange)(exchange.credentials)
    with feed:
        book = feed.wait_for_book(TICKER, timeout=5)
        for span in re.findall(r"`(book\.\w+\([^`]*\))`", README):
            eval(span, {"book": book})
    things = {
        "feed": feed,
        "book": book,
        "stats": feed.stats(),
        "subscription": feed.subscribe("ticker"),
        "rest": kalshi_feed.rest.Rest,
        "following": kalshi_feed.following.Following,
    }
    spans = [span for text in TEXTS.values() for span in re.findall(r"`([^`\n]+)`", text)]
    found = [
        pair
        for span in spans
        for pair in re.findall(r"\b(feed|book|stats|subscription|following|rest)\.([a-z]\w+)", span)
    ]
    assert len(found) > 30
    assert [f"{thing}.{name}" for thing, name in found if not hasattr(things[thing], name)] == []
    # what the guides for those who move name of the other libraries
    foreign = {"WebSocketApp", "on_open", "on_close"}
    plain = [
        span for span in spans if span not in foreign and re.fullmatch(r"on_[a-z]+|[A-Z][a-z]+[A-Z]\w+", span)
    ]
    places = (
        feed,
        kalshi_feed,
        kalshi_feed.messages,
        kalshi_feed.sinks,
        kalshi_feed.contrib.process,
        builtins,
    )
    missing = [span for span in plain if not any(hasattr(place, span) for place in places)]
    assert missing == [] and len(plain) > 15


def quoted() -> str:
    """All pages with their lines joined, for errors that they wrap."""
    return re.sub(r"\s+", " ", " ".join(TEXTS.values()))


def test_quoted_refusals(exchange: Exchange) -> None:
    feed = local_feed(exchange)(exchange.credentials)
    wrong: list[tuple[str, Any]] = [
        ("orderbook_delta", None),
        ("ticker:" + TICKER, None),
        ("orderbook_snapshot", [TICKER]),
    ]
    for channel, tickers in wrong:
        with pytest.raises(KalshiFeedError) as refused:
            feed.subscribe(channel, tickers)
        text = str(refused.value)
        assert text.removeprefix(f"unknown channel '{channel}': ") in quoted()
    assert feed.subscribe("ticker").channels == ("ticker",)


def test_quoted_errors(exchange: Exchange) -> None:
    """Every quoted error is raised here; only port numbers differ."""
    feed_class = local_feed(exchange)

    def quoted_is(call: Callable[[], object]) -> None:
        with pytest.raises(KalshiFeedError) as found:
            call()
        text = f"{type(found.value).__name__}: {found.value}"
        pattern = re.sub(r"127\\\.0\\\.0\\\.1:\d+", r"127\\.0\\.0\\.1:\\d+", re.escape(text))
        assert re.search(pattern.replace(r"\ ", " "), quoted()), text

    with pytest.raises(KalshiFeedError) as missing:
        KalshiFeed.from_env(environ={})
    assert f"CredentialsError: {missing.value}" in quoted()
    idle = feed_class(exchange.credentials)
    quoted_is(lambda: idle.wait_for_book(TICKER, timeout=0.2))
    stranger = Credentials.from_pem("somebody", exchange.private_key_pem)
    with feed_class(stranger) as feed:
        quoted_is(lambda: feed.wait_until_connected(5))
    exchange.reject_next(1, 403, body=b"Forbidden")
    with feed_class(exchange.credentials) as feed:
        quoted_is(lambda: feed.wait_until_connected(5))
    with KalshiFeed(exchange.credentials, url=exchange.url) as feed:
        quoted_is(lambda: feed.wait_until_connected(5))
    with KalshiFeed(exchange.credentials, url="wss://localhost:9/trade-api/ws/v2") as feed:
        quoted_is(lambda: feed.wait_until_connected(0.5))
    with feed_class(exchange.credentials) as feed:
        book = feed.wait_for_book(TICKER, timeout=5)
        quoted_is(lambda: feed.wait_for("trade", timeout=0.05))
        exchange.ignore_commands("subscribe")
        quoted_is(lambda: feed.subscribe("ticker").wait(0.3))
        exchange.quiesce()
        feed.list_subscriptions(5)
        quoted_is(lambda: book.wait_for_update(0.2))
        exchange.reject_next(20, 503)
        exchange.reset()
        wait_until(lambda: not book.is_live)
        quoted_is(lambda: book.view(require_live=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_quoted_error_after_a_fork() -> None:
    code = """
import builtins
import contextlib
import os
from kalshi_feed import FeedForkedError
from kalshi_feed.simulator import Exchange
from kalshi_feed import KalshiFeed
exchange = Exchange()
feed = KalshiFeed(exchange.credentials, url="wss://localhost:1/")
if os.fork() == 0:
    try:
        feed.book("A")
    except FeedForkedError as error:
        print("FeedForkedError:", error, flush=True)
    os._exit(0)
os.wait()
"""
    environ = os.environ | {"PYTHONPATH": str(TOP)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=30
    )
    assert result.stdout.strip() and result.stdout.strip() in quoted(), result.stdout + result.stderr


@pytest.mark.parametrize(
    "page", [messages_table.README, messages_table.REFERENCE], ids=["short", "all fields"]
)
def test_the_tables_of_messages_are_as_the_classes_are(page: Path) -> None:
    assert messages_table.written(page) == TEXTS[page], "run: python -m tests.messages_table"


def test_the_readme_stays_short() -> None:
    """What a user reads first; details belong in a guide."""
    assert len(README.encode()) <= 14_500
