"""kalshi-feed check: every cause that can be made here is named, with the step it belongs to and what to
do."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import json
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from kalshi_feed import DEMO_URL, PRODUCTION_URL, AuthenticationError, SubscriptionError, UnknownMarketError
from kalshi_feed.cli import check
from kalshi_feed.connection.url import parse_url
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import TEXT, Peer, RawServer, frame
from tests.connection.tunnel import Tunnel

from .checks import checked, run, says
from .support import TOP, Access, kalshi_feed

pytestmark = pytest.mark.slow

NOBODYS_NAME = "exchange.invalid"


def test_all_is_well(access: Access) -> None:
    steps, failed = checked(access, "KX-A")
    assert failed == {}
    assert {name: step["status"] for name, step in steps.items() if step["status"] != "ok"} == {
        "proxy": "skipped"
    }
    assert "RSA private key" in steps["key"]["found"] and access.exchange.api_key_id not in json.dumps(steps)
    assert "TLSv1.3, certificate issued by trustme" in steps["tls"]["found"]
    assert "levels, yes 0." in steps["snapshot"]["found"]
    assert all(
        steps[name]["seconds"] >= 0 for name in ("dns", "tcp", "tls", "handshake", "subscribe", "snapshot")
    )


def test_without_a_market_all_but_its_book(access: Access) -> None:
    steps, failed = checked(access)
    assert failed == {} and steps["subscribe"]["status"] == "ok"
    assert steps["snapshot"]["status"] == "skipped" and "TICKER" in steps["snapshot"]["found"]


def test_it_says_whether_the_exchange_compresses(mine: Access) -> None:
    for accepts, words in ((True, "and will compress"), (False, "but does not compress")):
        mine.exchange.compression = accepts
        steps, failed = checked(mine, "KX-A", "--compress")
        assert failed == {} and words in steps["handshake"]["found"]
    assert all("SEC-WEBSOCKET-EXTENSIONS" in one.headers for one in mine.exchange.handshakes)


def test_it_leaves_no_connection_behind(mine: Access) -> None:
    checked(mine, "KX-A")
    mine.exchange.wait_for_connections(0)
    assert len(mine.exchange.handshakes) == 2  # the dial's and the feed's


# -- the key and the address


KEYS = {
    "none": (
        (),
        {"KALSHI_API_KEY_ID": "", "KALSHI_PRIVATE_KEY_PATH": ""},
        "key not set in the environment: KALSHI_API_KEY_ID",
    ),
    "no file": (("--key-file", "/nope/key.pem"), {}, "key there is no private key file '/nope/key.pem'"),
    "another file": (("--key-file", __file__), {}, "key "),
    "url": (
        ("--url", "https://api.elections.kalshi.com/"),
        {},
        "url --url starts with https://; the WebSocket url starts with wss://",
    ),
    "no CA file": (("--ca-file", "/nope"), {}, "url the CA file '/nope' cannot be used: No such file"),
    "KALSHI_ENV": (("-",), {"KALSHI_ENV": "live"}, "url KALSHI_ENV is 'live'; write 'production' or 'demo'"),
    "SOCKS": (
        ("-",),
        {"HTTPS_PROXY": "socks5://127.0.0.1:9"},
        "url the environment variable HTTPS_PROXY is a SOCKS proxy",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_what_cannot_work(access: Access, case: str) -> None:
    more, environ, text = KEYS[case]
    options = () if "-" in more else access.options
    _, failed = checked(access, *(word for word in more if word != "-"), options=options, **environ)
    assert says(failed).startswith(text)
    if failed["step"] == "key":
        assert "--key-id and --key-file" in says(failed)


def test_a_key_file_that_others_can_read_is_a_warning(access: Access, tmp_path: Path) -> None:
    open_key = tmp_path / "open.pem"
    open_key.write_bytes(access.exchange.private_key_pem)
    open_key.chmod(0o644)
    result = run(access, "--key-file", str(open_key))
    assert result.output.startswith("warning  key ") and "chmod 600" in result.output.splitlines()[0]
    assert result.output.endswith("all is well, but see: key\n") and result.exit_code == 0


def test_two_exchanges_are_a_mistake_of_the_command(access: Access) -> None:
    result = run(access, "--env", "demo")
    assert result.exit_code == 2 and "--env and --url" in result.output


# -- the handshake (PROTOCOL.md 1.2)


def test_401_unknown_key(access: Access) -> None:
    steps, failed = checked(access, "KX-A", "--key-id", "unknown-key")
    assert failed["step"] == "handshake" and steps["clock"]["status"] == "ok"
    assert "answered the handshake with 401" in failed["found"]
    assert "NOT_FOUND means that this environment does not know the key id" in says(failed)
    assert steps["subscribe"]["found"] == steps["snapshot"]["found"] == check.NOT_REACHED


def test_401_key_of_another_environment(access: Access, mine: Access) -> None:
    _, failed = checked(
        mine, KALSHI_API_KEY_ID=access.exchange.api_key_id, KALSHI_PRIVATE_KEY_PATH=str(access.key_file)
    )
    assert failed["step"] == "handshake" and "or the wrong environment" in says(failed)
    refused = AuthenticationError("no", 401, '{"details":"NOT_FOUND"}')
    for url, hint in ((PRODUCTION_URL, "check --env demo"), (DEMO_URL, "check --env production")):
        assert hint in " ".join(check.advice("handshake", refused, parse_url(url)))


def test_401_private_key_of_another_key_id(access: Access, mine: Access) -> None:
    _, failed = checked(mine, KALSHI_PRIVATE_KEY_PATH=str(access.key_file))
    assert failed["step"] == "handshake" and "INCORRECT_API_KEY_SIGNATURE" in failed["found"]
    assert "the key file must be the one that was issued together with this key id" in says(failed)


@pytest.mark.parametrize(("offset", "words"), [(60, "s behind"), (-3600, "s ahead of")])
def test_401_clock(mine: Access, offset: float, words: str) -> None:
    mine.exchange.clock_offset = offset
    steps, failed = checked(mine, "KX-A")
    assert failed["step"] == "clock" and words in failed["found"] and "timedatectl" in says(failed)
    assert any(
        f"clock is {seconds} s" in failed["found"]
        for seconds in range(abs(int(offset)) - 2, abs(int(offset)) + 3)
    )
    assert steps["handshake"]["status"] == "failed" and "TIMESTAMP_EXPIRED" in steps["handshake"]["found"]


def test_clock_that_is_off_but_let_pass(mine: Access) -> None:
    mine.exchange.clock_offset, mine.exchange.max_clock_skew = 60, 100
    steps, failed = checked(mine, "KX-A")
    assert failed == {} and steps["clock"]["status"] == "warning" and "s behind" in steps["clock"]["found"]


def test_clock_is_not_blamed_for_an_unknown_key(mine: Access) -> None:
    mine.exchange.clock_offset = 60
    steps, failed = checked(mine, "--key-id", "unknown-key")
    assert failed["step"] == "handshake" and steps["clock"]["status"] == "warning"


def adds_origin(exchange: Exchange) -> Any:
    """A firewall that opens the connection and passes the request on with an Origin header."""

    def handle(peer: Peer) -> None:
        peer.read_request()
        with (
            socket.create_connection(("127.0.0.1", exchange.port)) as plain,
            exchange.ssl_context.wrap_socket(plain, server_hostname="127.0.0.1") as onward,
        ):
            onward.sendall(peer.request + b"\r\nOrigin: https://firewall.example\r\n\r\n")
            with contextlib.suppress(OSError):
                while data := onward.recv(65_536):
                    peer.send(data)

    return handle


def server_context(*hosts: str, expired: bool = False) -> tuple[ssl.SSLContext, trustme.CA]:
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.datetime(2021, 1, 1, tzinfo=datetime.timezone.utc)
    ca.issue_cert(*hosts, not_after=past if expired else None).configure_cert(context)
    return context, ca


def test_403_origin_added_on_the_way(access: Access, tmp_path: Path) -> None:
    context, ca = server_context("127.0.0.1")
    ca.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    with RawServer(adds_origin(access.exchange), context) as firewall:
        options = (
            "--url",
            f"wss://127.0.0.1:{firewall.port}/trade-api/ws/v2",
            "--ca-file",
            str(tmp_path / "company.pem"),
        )
        steps, failed = checked(access, "KX-A", options=options)
    assert failed["step"] == "handshake" and "answered the handshake with 403 (Forbidden)" in failed["found"]
    assert "something in between adds one" in says(failed) and "issued by" in steps["tls"]["found"]


def test_403_for_another_reason(mine: Access) -> None:
    mine.exchange.reject_next(1, 403, body=b"not from your country")
    _, failed = checked(mine, "KX-A")
    assert failed["step"] == "handshake" and "(not from your country)" in failed["found"]
    assert "Origin header; none" not in says(failed) and "another network" in says(failed)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, "captive portal"),
        (302, "it redirects to"),
        (404, "the exchange's path is"),
        (429, "too many"),
        (503, "has a problem"),
    ],
)
def test_other_answers(mine: Access, status: int, text: str) -> None:
    mine.exchange.reject_next(1, status, {"Location": "https://portal.example/"})
    _, failed = checked(mine, "KX-A")
    assert failed["step"] == "handshake" and f"with {status}" in failed["found"] and text in failed["found"]
    assert ("never follows a redirect" in says(failed) and "curl -si https://127.0.0.1" in says(failed)) is (
        status == 302
    )


# -- the way to it


def at(port: int, host: str = "127.0.0.1") -> tuple[str, ...]:
    return "--url", f"wss://{host}:{port}/trade-api/ws/v2"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_refused_port(access: Access) -> None:
    steps, failed = checked(access, options=at(closed_port()))
    assert (
        failed["step"] == "tcp"
        and "the connection was refused" in failed["found"]
        and "is it running?" in says(failed)
    )
    assert steps["dns"]["status"] == "ok"


def test_unknown_host(access: Access) -> None:
    _, failed = checked(access, options=at(443, "nowhere.invalid"))
    assert (
        failed["step"] == "dns" and "cannot be resolved" in failed["found"] and "HTTPS_PROXY" in says(failed)
    )


def says_nothing(peer: Peer) -> None:
    peer.wait_closed()


def test_silent_server(access: Access) -> None:
    with RawServer(says_nothing) as server:
        _, failed = checked(access, "--timeout", "0.3", options=at(server.port))
    assert failed["step"] == "tls" and "no answer in the time allowed" in failed["found"]
    context, ca = server_context("127.0.0.1")
    with RawServer(says_nothing, context) as server, ca.cert_pem.tempfile() as ca_file:
        steps, failed = checked(access, "--timeout", "0.5", options=(*at(server.port), "--ca-file", ca_file))
    assert failed["step"] == "handshake" and "no answer in the time allowed" in failed["found"]
    assert steps["clock"]["status"] == "skipped"


def test_certificate_of_an_unknown_authority(access: Access) -> None:
    _, failed = checked(access, options=("--url", access.exchange.url))
    assert failed["step"] == "tls" and "its issuer is not known" in failed["found"]
    assert "--ca-file FILE" in failed["found"] and "openssl s_client -connect 127.0.0.1:" in says(failed)


@pytest.mark.parametrize(
    ("hosts", "expired", "text"),
    [
        (("elsewhere.example",), False, "check the url's host"),
        (("127.0.0.1",), True, "check this machine's clock"),
    ],
)
def test_certificate_for_another_host_or_expired(
    access: Access, hosts: tuple[str, ...], expired: bool, text: str
) -> None:
    context, ca = server_context(*hosts, expired=expired)
    with RawServer(lambda peer: None, context) as server, ca.cert_pem.tempfile() as ca_file:
        _, failed = checked(access, options=(*at(server.port), "--ca-file", ca_file))
    assert failed["step"] == "tls" and text in failed["found"]


def test_no_tls_behind_the_port(access: Access) -> None:
    with RawServer(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        _, failed = checked(access, options=at(server.port))
    assert failed["step"] == "tls" and "does not speak TLS on this port" in failed["found"]


def test_plain_needs_no_tls_and_junk_is_no_handshake(access: Access) -> None:
    with RawServer(lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.6\r\n")) as server:
        steps, failed = checked(access, options=("--url", f"ws://127.0.0.1:{server.port}/"))
    assert failed["step"] == "handshake" and "the answer is not HTTP" in failed["found"]
    assert steps["tls"] == {
        "step": "tls",
        "status": "skipped",
        "found": "ws:// has none",
        "advice": [],
        "seconds": None,
    }


# -- a proxy


@pytest.mark.parametrize("status", [407, 403, 502])
def test_proxy_that_refuses(access: Access, status: int) -> None:
    with RawServer(Tunnel(f"HTTP/1.1 {status} No\r\n\r\n".encode())) as server:
        proxy = f"http://me:hunter2@127.0.0.1:{server.port}"
        steps, failed = checked(access, options=at(443, NOBODYS_NAME), HTTPS_PROXY=proxy)
    assert failed["step"] == "proxy" and f"answered CONNECT with {status}" in failed["found"]
    assert "HTTPS_PROXY" in says(failed) and f"NO_PROXY={NOBODYS_NAME}" in says(failed)
    assert "hunter2" not in json.dumps(steps) and steps["tcp"]["status"] == "ok"


def test_proxy_that_is_not_there_or_none(access: Access) -> None:
    _, failed = checked(
        access, options=at(443, NOBODYS_NAME), HTTPS_PROXY=f"http://127.0.0.1:{closed_port()}"
    )
    assert failed["step"] == "tcp" and failed["found"].startswith("the proxy http://127.0.0.1:")
    with RawServer(lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.6\r\n")) as server:
        _, failed = checked(
            access, options=at(443, NOBODYS_NAME), HTTPS_PROXY=f"http://127.0.0.1:{server.port}"
        )
    assert failed["step"] == "proxy" and "is not HTTP" in failed["found"]


def test_proxy_that_leads_elsewhere(access: Access) -> None:
    with RawServer(Tunnel(port=access.exchange.port)) as server:
        options = (*at(443, NOBODYS_NAME), "--ca-file", str(access.ca_file))
        steps, failed = checked(access, options=options, HTTPS_PROXY=f"http://127.0.0.1:{server.port}")
    assert steps["proxy"]["status"] == "ok" and f"leads to {NOBODYS_NAME}:443" in steps["proxy"]["found"]
    assert failed["step"] == "tls" and "a proxy or captive portal" in failed["found"]


# -- subscription and book


def test_unknown_market(access: Access) -> None:
    steps, failed = checked(access, "KX-NOBODY")
    assert (
        failed["step"] == "snapshot" and "the exchange does not know the market KX-NOBODY" in failed["found"]
    )
    assert "--env" not in says(failed)  # it would contradict --url
    assert "whole ticker" in says(failed) and steps["subscribe"]["status"] == "ok"


def confirms_and_sends_nothing(peer: Peer, hold_up: float = 0.0) -> None:
    """Keep Python's lock for ``hold_up`` seconds before it confirms."""
    peer.handshake()
    while True:
        opcode, payload = peer.read_frame()
        if opcode == TEXT and b'"subscribe"' in payload:
            command = json.loads(payload)
            ctypes.PyDLL(None).poll(None, 0, int(hold_up * 1000))
            reply = {
                "id": command["id"],
                "type": "subscribed",
                "msg": {"channel": command["params"]["channels"][0], "sid": 1},
            }
            peer.send(frame(TEXT, json.dumps(reply).encode()))


def test_no_snapshot(access: Access) -> None:
    with RawServer(confirms_and_sends_nothing) as server:
        options = ("--url", f"ws://127.0.0.1:{server.port}/trade-api/ws/v2")
        steps, failed = checked(access, "KX-A", "--timeout", "0.5", options=options)
    assert (
        failed["step"] == "snapshot"
        and "no snapshot of KX-A has come; its book is PENDING" in failed["found"]
    )
    assert "--timeout" in says(failed) and steps["clock"]["found"] == "the answer had no time (Date)"


def test_a_reader_that_stood_still_is_a_warning(access: Access) -> None:
    with RawServer(lambda peer: confirms_and_sends_nothing(peer, 1.2)) as server:
        options = ("--url", f"ws://127.0.0.1:{server.port}/trade-api/ws/v2")
        steps, failed = checked(access, options=options, KALSHI_REST_URL="")
    assert failed == {} and steps["subscribe"]["status"] == "warning"
    assert re.search(
        r"is confirmed; meanwhile the feed's reader stood still for [01]\.\d s$", steps["subscribe"]["found"]
    )
    assert "feed.stats().stalls" in says(steps["subscribe"])


def test_no_confirmation(mine: Access) -> None:
    mine.exchange.ignore_commands("subscribe", n=None)
    _, failed = checked(mine, "KX-A", "--timeout", "0.5")
    assert failed["step"] == "subscribe" and "has not confirmed orderbook_delta" in failed["found"]


def test_refused_subscription(mine: Access) -> None:
    mine.exchange.refuse_commands(9, "Authentication required", "subscribe")
    _, failed = checked(mine, "KX-A")
    assert failed["step"] == "subscribe" and "error 9, Authentication required" in failed["found"]
    assert "the key works, but not for this" in says(failed)
    assert "--env" not in says(failed)  # it would contradict --url


def test_bad_ticker(access: Access) -> None:
    _, failed = checked(access, "")
    assert failed["step"] == "subscribe" and failed["advice"] == []


def test_env_is_advice_where_it_chooses() -> None:
    for url in (PRODUCTION_URL, DEMO_URL):
        step = check.unknown_market(UnknownMarketError("KX-NOBODY"), parse_url(url))
        refused = check.advice("subscribe", SubscriptionError(14, "Permission denied"), parse_url(url))
        assert "--env" in step.advice[-1] and "and --env" in refused[0]
        over = check.unknown_market(UnknownMarketError("KX-A", was_known=True), parse_url(url))
        assert "--env" not in " ".join(over.advice)


# -- how it looks


def test_a_line_a_step_where_it_is_piped(access: Access) -> None:
    result = kalshi_feed("check", "KX-A", "--key-id", "unknown-key", *access.options, **access.environ)
    assert (result.returncode, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines[:8]] == list(check.STEPS[:8])
    assert lines[7].startswith("FAILED   handshake  127.0.0.1 answered the handshake with 401")
    assert (
        all(line.startswith(" " * 20) for line in lines[8:])
        and lines[-1].strip() == "first failed step: handshake"
    )
    assert "\x1b" not in result.stdout


def test_the_guide_shows_what_it_says(mine: Access) -> None:
    guide = (TOP / "samples" / "troubleshooting.md").read_text(encoding="utf-8")
    (quoted,) = re.findall(r"```text\n(ok       key .*?)```", guide, re.DOTALL)
    mine.exchange.clock_offset = 61.5

    def timeless(text: str) -> list[str]:
        return re.sub(
            r"id \w{8}|127.0.0.1(:| port )\d+|\d+ ms|v[\d.]+|until .* GMT|\b6[012] s", "…", text
        ).splitlines()

    shown = timeless(run(mine, "KX-A").output)
    assert timeless(quoted) == shown[: len(timeless(quoted))]


def test_a_terminal_has_colour_and_its_width(access: Access) -> None:
    result = run(access, "KX-NOBODY", FORCE_COLOR="1", COLUMNS="60", TERM="xterm-256color")
    assert result.exit_code == 1 and "\x1b[1;31mFAILED" in result.output
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.output)
    shown = [line.rsplit("\r", 1)[-1] for line in plain.splitlines()]
    assert max(map(len, shown)) <= 60
    assert sum(line.startswith(" " * 20) for line in shown) >= 5  # what is long goes on under its beginning
