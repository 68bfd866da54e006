"""PostgresSink and a real server: the tables' content; kills, a cut at the worst moment, other users."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed import ConfigurationError, SinkError
from kalshi_feed.sinks import TABLES, Batcher, PostgresSink, Row, SinkTrouble, open_sink
from tests.faults.secrets import Secrets, shown_with_locals
from tests.feed.support import in_thread
from tests.support import wait_until

from .postgres_server import PASSWORD, CutAtCommit, PostgresServer
from .support import QUICK, delta, gap, killed_writer, snapshot, ticker, trade

pytestmark = pytest.mark.slow

NS = 1_760_000_000_123_456_789


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[CutAtCommit]:
    proxy = CutAtCommit(server.port)
    yield proxy
    proxy.close()


def numbers(server: PostgresServer, schema: str, table: str = "deltas") -> list[int]:
    return [n for (n,) in server.ask(f"select n from {schema}.{table} order by n")]


def test_what_is_in_the_tables(server: PostgresServer, schema: str) -> None:
    sink = PostgresSink(server.address(), schema=schema)
    items = [snapshot(), delta(), trade(), ticker(), gap("a NUL: \0"), gap("back\\u0000slash")]
    sink.write([Row(n, NS, item) for n, item in enumerate(items, 1)])
    sink.close()
    at = datetime(2025, 10, 9, 8, 53, 20, 123456, timezone.utc)
    time = at.replace(microsecond=123000)
    assert {
        table: [row[1:] for row in server.ask(f"select * from {schema}.{table} order by n")]
        for table in TABLES
    } == {
        "snapshots": [(1, at, "KX-A", [["0.5400", "1.50"], ["0.5300", "10.00"]], [["0.4000", "7.00"]], 1, 1)],
        "deltas": [(2, at, time, "KX-A", "yes", Decimal("0.5400"), Decimal("3.00"), 1, 2)],
        "trades": [
            (
                *(3, at, time, "KX-A", "d91bc706-ee49-470d-82d8-11418bda6fed"),
                *(Decimal("0.3600"), Decimal("0.6400"), Decimal("136.00"), "no", "feed"),
            )
        ],
        "fills": [],
        "tickers": [
            (
                4,
                at,
                None,
                "KX-A",
                Decimal("0.4800"),
                Decimal("0.4500"),
                None,
                None,
                None,
                None,
                Decimal("33896.00"),
                None,
            )
        ],
        "holes": [
            (
                5,
                at,
                "gap",
                "gap in orderbook_delta: a NUL: \ufffd",
                "orderbook_delta",
                1,
                7,
                9,
                None,
                ["KX-A", "KX-B"],
                *[None] * 5,
            ),
            (
                *(6, at, "gap", "gap in orderbook_delta: back\\ufffdslash", "orderbook_delta"),
                *(1, 7, 9, None, ["KX-A", "KX-B"], *[None] * 5),
            ),
        ],
    }
    for table, columns in TABLES.items():
        named = server.ask(
            "select column_name from information_schema.columns "
            "where table_schema = %s and table_name = %s order by ordinal_position",
            schema,
            table,
        )
        assert [name for (name,) in named] == ["run", "n", *columns]


def test_a_batch_that_comes_again_is_stored_once(server: PostgresServer, schema: str) -> None:
    sink = PostgresSink(server.address(), schema=schema)
    for rows in ([Row(1, NS, delta(1))], [Row(1, NS, delta(1))], [Row(2, NS, delta(2))]):
        sink.write(rows)
    sink.close()
    assert numbers(server, schema) == [1, 2]


def test_kill_9_of_the_server_in_the_middle(server: PostgresServer, schema: str) -> None:
    """Every row is there once and in order; those reported as written before the kill were already there."""
    reported: list[SinkTrouble] = []
    sink = PostgresSink(server.address(), schema=schema)
    ended = threading.Event()
    with Batcher(sink, batch_rows=20, batch_seconds=0.01, retry=QUICK, on_trouble=reported.append) as batcher:

        def put() -> int:
            seq = 0
            while not ended.is_set():
                seq += 1
                batcher.put(delta(seq))
                ended.wait(0.0005)
            return seq

        putting = in_thread(put)
        for outage in range(2):
            before = batcher.stats().written
            wait_until(lambda: batcher.stats().written > before + 200, 20, "rows")  # noqa: B023
            server.kill()
            announced = batcher.stats().written
            wait_until(lambda: len(reported) == 2 * outage + 1, 10, "the outage to be noticed")  # noqa: B023
            server.start()
            assert len(numbers(server, schema)) >= announced
            wait_until(lambda: len(reported) == 2 * outage + 2, 20, "the rows to be written again")  # noqa: B023
        ended.set()
        put_in_all = putting.result()
        batcher.flush(20)
    assert server.ask(f"select n, seq from {schema}.deltas order by n") == [
        (n, n) for n in range(1, put_in_all + 1)
    ]
    assert [trouble.kind for trouble in reported] == ["failing", "writing"] * 2
    assert batcher.stats().dropped == 0 and batcher.stats().retried >= 2


def test_a_connection_cut_after_the_commit_doubles_nothing(
    server: PostgresServer, schema: str, proxy: CutAtCommit
) -> None:
    sink = PostgresSink(server.address(proxy.port), schema=schema)
    with Batcher(sink, batch_rows=10, batch_seconds=60, retry=QUICK) as batcher:
        for turn in range(3):
            proxy.armed = True
            for seq in range(10):
                batcher.put(delta(10 * turn + seq + 1))
            batcher.flush(10)
            assert proxy.cuts == turn + 1 and batcher.stats().retried >= turn + 1
    assert server.ask(f"select n, seq from {schema}.deltas order by n") == [(n, n) for n in range(1, 31)]


def test_an_earlier_transaction_that_still_runs_is_waited_for(server: PostgresServer, schema: str) -> None:
    """The row of the run is locked: it is not known yet whether the batch will be there."""
    psycopg = pytest.importorskip("psycopg")
    sink = PostgresSink(server.address(), schema=schema)
    with Batcher(sink, batch_rows=1, retry=QUICK) as batcher:
        with psycopg.connect(server.address()) as earlier:
            earlier.execute(f"insert into {schema}.deltas (run, n) select run, 1 from {schema}.runs")
            earlier.execute(f"update {schema}.runs set last_n = 1")
            batcher.put(delta(1))
            wait_until(lambda: batcher.stats().retried >= 2, 10, "some tries")
            assert "could not obtain lock" in batcher.stats().last_error
        batcher.flush(10)
    assert server.ask(f"select n, seq from {schema}.deltas") == [(1, None)]


def test_a_table_locked_by_another_session(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    psycopg = pytest.importorskip("psycopg")
    batcher = Batcher(PostgresSink(server.address(), schema=schema), batch_rows=1, retry=QUICK)
    with psycopg.connect(server.address()) as other:
        other.execute(f"lock table {schema}.deltas")
        batcher.put(delta(1))
        wait_until(lambda: server.ask("select 1 from pg_locks where not granted"), 10, "the COPY to wait")
        (left,) = in_thread(lambda: batcher.close(0.2)).result(5)  # although a write is in progress
        assert left.item.seq == 1
    wait_until(lambda: batcher.stats().written == 1, 10, "the write that was under way")

    monkeypatch.setattr("kalshi_feed.sinks.postgres._LOCK_TIMEOUT", "20ms")
    with Batcher(PostgresSink(server.address(), schema=schema), batch_rows=1, retry=QUICK) as batcher:
        with psycopg.connect(server.address()) as other:
            other.execute(f"lock table {schema}.deltas in exclusive mode")
            batcher.put(delta(2))
            wait_until(lambda: batcher.stats().retried >= 2, 10, "some tries")
            assert "canceling statement due to lock timeout" in batcher.stats().last_error
    assert server.ask(f"select seq from {schema}.deltas order by run, n") == [(1,), (2,)]


def test_kill_9_of_the_writer(server: PostgresServer) -> None:
    announced = killed_writer(server.address())
    wait_until(
        lambda: not server.ask("select 1 from pg_stat_activity where application_name = 'kalshi-writer'"), 20
    )
    rows = server.ask("select n, seq from kalshi.deltas order by n")
    assert rows == [(n, n) for n in range(1, len(rows) + 1)] and len(rows) >= announced
    assert server.ask("select last_n from kalshi.runs") == [(len(rows),)]


def test_programs_that_begin_at_once(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: NS)
    begin = threading.Barrier(6)

    def write() -> None:
        begin.wait(10)
        sink = PostgresSink(server.address(), schema=schema)
        sink.write([Row(1, NS, delta())])
        sink.close()

    for one in [in_thread(write) for _ in range(6)]:
        one.result(20)
    assert server.ask(f"select count(distinct run), count(*) from {schema}.deltas") == [(6, 6)]


def test_rows_are_on_disk_where_the_server_would_not_wait(server: PostgresServer, schema: str) -> None:
    server.ask(f"create schema {schema}")
    server.ask(f"create table {schema}.seen (how text)")
    sink = PostgresSink(server.address(options="&options=-c%20synchronous_commit%3Doff"), schema=schema)
    server.ask(
        f"create function {schema}.look() returns trigger language plpgsql as "
        f"$$begin insert into {schema}.seen values (current_setting('synchronous_commit')); return new; end$$"
    )
    server.ask(
        f"create trigger look after insert on {schema}.deltas for each row execute function {schema}.look()"
    )
    sink.write([Row(1, NS, delta())])
    sink.close()
    assert server.ask(f"select how from {schema}.seen") == [("on",)]


def test_a_user_that_may_write_need_not_be_allowed_to_create(server: PostgresServer, schema: str) -> None:
    PostgresSink(server.address(), schema=schema).close()
    for order in (
        f"create role {schema} login password 'secret'",
        f"grant usage on schema {schema} to {schema}",
        f"grant select, insert, update on all tables in schema {schema} to {schema}",
    ):
        server.ask(order)
    address = (
        server.address().replace("keeper:", f"{schema}:", 1).replace("hunter2%20is%2Fnot%40enough", "secret")
    )
    sink = PostgresSink(address, schema=schema)
    sink.write([Row(1, NS, delta())])
    sink.close()
    assert numbers(server, schema) == [1]
    with pytest.raises(SinkError, match="cannot be opened: permission denied for database postgres"):
        PostgresSink(address, schema="another")


def test_tables_of_another_program(server: PostgresServer, schema: str) -> None:
    server.ask(f"create schema {schema}")
    server.ask(f"create table {schema}.trades (n bigint, run bigint, price numeric)")
    with pytest.raises(
        SinkError,
        match=rf"the table {schema}.trades was made by another program or an older version: it has no column "
        "count, ",
    ):
        PostgresSink(server.address(), schema=schema)


def test_tables_dropped_while_it_runs_are_created_again(server: PostgresServer, schema: str) -> None:
    with Batcher(PostgresSink(server.address(), schema=schema), batch_rows=1, retry=QUICK) as batcher:
        batcher.put(delta(1))
        batcher.flush(10)
        server.ask(f"drop schema {schema} cascade")
        batcher.put(delta(2))
        batcher.flush(10)
        server.ask(f"delete from {schema}.runs")
        batcher.put(delta(3))
        batcher.flush(10)
    assert numbers(server, schema) == [2, 3]


def test_an_odd_schema_name(server: PostgresServer) -> None:
    sink = PostgresSink(server.address(), schema='My "feed"; select 1')
    sink.write([Row(1, NS, delta())])
    sink.close()
    assert server.ask('select n from "My ""feed""; select 1".deltas') == [(1,)]


def test_the_password_is_never_seen(
    server: PostgresServer, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "not the password"
    secrets = Secrets()
    secrets.add(PASSWORD, "hunter2", wrong, "not%20the")
    caplog.set_level(logging.DEBUG)
    unreachable = server.address().replace(str(server.port), "1")
    broken = server.address() + "&nonsense=1"
    attempts = [
        server.address(password=wrong),
        unreachable,
        broken,
        f"postgresql://u:{wrong}@[::1/db",
        f"host=x password={wrong} x",
    ]
    for address in attempts:
        for make in (PostgresSink, open_sink):
            if make is open_sink and not address.startswith("postgresql://"):
                continue
            with pytest.raises((SinkError, ConfigurationError)) as raised:
                make(address)
            for shown in shown_with_locals(raised.value):
                secrets.check(shown, address)
    with Batcher(PostgresSink(server.address(), schema=schema), batch_rows=1, retry=QUICK) as batcher:
        secrets.check(repr(batcher), "the repr")
        server.ask(
            "select pg_terminate_backend(pid) from pg_stat_activity where query ilike %s", f"%{schema}%"
        )
        server.ask(f"alter schema {schema} rename to {schema}_x")
        server.ask(f"create schema {schema}")
        server.ask(f"create table {schema}.runs (a int)")
        batcher.put(delta())
        wait_until(lambda: batcher.stats().retried > 2)
        error = batcher._last_error
        assert error is not None
        for shown in shown_with_locals(error):
            secrets.check(shown, "the Batcher's error")
        assert len(batcher.close(0.1)) == 1
    secrets.check(caplog.text, "the log")


def test_no_server(server: PostgresServer) -> None:
    unreachable = server.address().replace(str(server.port), "1")
    with pytest.raises(
        SinkError,
        match=r"PostgreSQL database postgres at 127.0.0.1 port 1 cannot be opened: connection failed",
    ):
        PostgresSink(unreachable)


def test_an_address_that_cannot_be_read() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: the PostgreSQL sink is not tried")
    wrong: list[Any] = ["postgresql://[::1/db", "host=x nonsense"]
    for address in wrong:
        with pytest.raises(
            ConfigurationError, match="cannot be parsed: write postgresql://user@host:port/database"
        ):
            PostgresSink(address)
