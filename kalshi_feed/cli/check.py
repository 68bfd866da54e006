"""The findings of ``kalshi-feed check``, step by step, and its advice.

Owns the order of the steps, the verdict, and the advice that only the command line can give; advice that
fits every program is part of the errors themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from ..connection.failures import SKEW_SECONDS
from ..connection.proxy import Proxy
from ..connection.url import Endpoint
from ..errors import (
    AuthenticationError,
    ConfigurationError,
    HandshakeRejected,
    KalshiFeedError,
    ProxyError,
    RestError,
    SubscriptionError,
    TLSError,
    UnknownMarketError,
    WaitTimeout,
)
from ..stats import Stalls
from .model import About

if TYPE_CHECKING:
    from ..rest import ExchangeStatus, Limits

__all__ = [
    "NOT_REACHED",
    "STEPS",
    "UNKNOWN_KEY",
    "Report",
    "Step",
    "advice",
    "clock",
    "market_step",
    "rest_step",
    "stood_still",
    "unknown_market",
]

# In the order in which they can be known. The clock can be compared only once the exchange has answered the
# handshake: the answer carries its time, even a refusal. The clock is judged first, because a wrong clock is
# a reason for a refusal.
STEPS: Final = (
    "key",
    "url",
    "dns",
    "tcp",
    "proxy",
    "tls",
    "clock",
    "handshake",
    "subscribe",
    "snapshot",
    "rest",
    "market",
)
NOT_REACHED: Final = "not reached"
UNKNOWN_KEY: Final = (
    "NOT_FOUND"  # in a 401's body: this environment does not know the key id (PROTOCOL.md 1.2)
)
_NOT_NEEDED: Final = {
    "proxy": "none is set for this host",
    "tls": "ws:// has none",
    "clock": "the answer had no time (Date)",
}
_SET_CLOCK: Final = (
    "Linux: sudo timedatectl set-ntp true; macOS: sudo sntp -sS time.apple.com; Windows: w32tm /resync"
)


_IS_OVER: Final = "it is over, and its book stays empty: leave it out; `kalshi-feed markets` lists open ones"
_IS_PAUSED: Final = "trading is paused: nothing changes until it is resumed"


@dataclass(frozen=True)
class Step:
    """One step: ``found`` says how things are, ``advice`` what to do about it, ``seconds`` how long it took
    (None: not measured). Immutable."""

    name: str
    status: Literal["ok", "warning", "failed", "skipped"]
    found: str
    advice: tuple[str, ...] = ()
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "step": self.name,
            "status": self.status,
            "found": self.found,
            "advice": list(self.advice),
            "seconds": None if self.seconds is None else round(self.seconds, 4),
        }


@dataclass
class Report:
    """The steps so far, in the order of ``names``; ``listener`` is called with each. Main thread only."""

    listener: Callable[[Step], object]
    names: tuple[str, ...] = STEPS
    steps: list[Step] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Add a step; steps skipped in between were not needed."""
        for name in self.names[len(self.steps) : self.names.index(step.name)]:
            self._append(Step(name, "skipped", _NOT_NEEDED.get(name, "not needed")))
        self._append(step)

    def end(self, why: str) -> None:
        """Skip all remaining steps."""
        for name in self.names[len(self.steps) :]:
            self._append(Step(name, "skipped", why))

    def _append(self, step: Step) -> None:
        self.steps.append(step)
        self.listener(step)

    @property
    def failed(self) -> Step | None:
        """The first step that failed."""
        return next((step for step in self.steps if step.status == "failed"), None)

    def verdict(self) -> str:
        """The result in one line."""
        if self.failed is not None:
            return f"first failed step: {self.failed.name}"
        warned = [step.name for step in self.steps if step.status == "warning"]
        return "all is well" + (f", but see: {', '.join(warned)}" if warned else "")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``ok``, ``failed`` (the first step that did, or None) and ``steps``."""
        failed = self.failed
        return {
            "ok": failed is None,
            "failed": None if failed is None else failed.name,
            "steps": [step.to_dict() for step in self.steps],
        }


def clock(skew: float, refused: bool) -> Step:
    """The clock's step. ``skew`` is our clock minus the exchange's in seconds; ``refused`` says whether the
    handshake was answered with 401."""
    if abs(skew) < SKEW_SECONDS:
        return Step("clock", "ok", "agrees with the exchange's, to a few seconds")
    found = _off(skew, "the exchange's")
    if not refused:
        return Step("clock", "warning", f"{found}; this time it was accepted", (_SET_CLOCK,))
    found += ", and the exchange rejects signatures whose time is off"
    return Step(
        "clock",
        "failed",
        found,
        (_SET_CLOCK, "a feed tries once more with the exchange's time; do not rely on it"),
    )


def _off(skew: float, whose: str) -> str:
    return f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {whose}"


def stood_still(step: Step, stalls: Stalls) -> Step:
    """The step; a warning, if the feed's reader stood still meanwhile."""
    if not stalls.count:
        return step
    return replace(
        step,
        status="warning",
        found=f"{step.found}; meanwhile the feed's reader stood still for {stalls.longest:.1f} s",
        advice=(
            *step.advice,
            "this machine was too busy, or the command was stopped (Ctrl-Z): a feed's pongs and callbacks "
            "are late by that much; in a program, feed.stats().stalls counts such times",
        ),
    )


def rest_step(url: str, status: ExchangeStatus, limits: Limits, skew: float | None, seconds: float) -> Step:
    """The step for the REST API at ``url``, from what it answered; ``skew`` is as for clock()."""
    is_open = status.exchange_active is not False and status.trading_active is not False
    tier = f"tier {limits.usage_tier}" if limits.usage_tier else "an unnamed tier"
    found = (
        f"{url} accepts the key: {tier}, {limits.requests_per_second:,.0f} requests a second; trading is "
        f"{'open' if is_open else 'closed'}"
    )
    if skew is not None and abs(skew) >= SKEW_SECONDS:
        found += "; " + _off(skew, "REST's")
        return Step("rest", "warning", found, (_SET_CLOCK,), seconds)
    return Step("rest", "ok", found, seconds=seconds)


def market_step(about: About, seconds: float) -> Step:
    """The step for the market, from what REST says about it."""
    if about.is_over:
        return Step("market", "warning", _said(about), (_IS_OVER,), seconds)
    if about.word == "paused":
        return Step("market", "warning", _said(about), (_IS_PAUSED,), seconds)
    return Step("market", "ok", _said(about), seconds=seconds)


def _said(about: About) -> str:
    """ "Above 100? (settled yes, closed 0:42 ago)"."""
    state = ", ".join(filter(None, (about.word, about.when))) or "open"
    return f"{about.title} ({state})" if about.title else state


def unknown_market(error: UnknownMarketError, endpoint: Endpoint, about: About | None = None) -> Step:
    """The snapshot's step for a market that the feed does not know; ``about`` is what REST says."""
    found = f"the exchange does not know the market {error.market_ticker}: its snapshot is empty"
    if about is not None:
        over = (_IS_OVER,) if about.is_over else ()
        return Step("snapshot", "failed", f"{found}; REST does know it: {_said(about)}", over)
    env = ("choose between the two with --env",) if not error.was_known and _is_kalshis(endpoint) else ()
    return Step("snapshot", "failed", found, (*error.advice, *env))


def advice(
    step: str, error: KalshiFeedError, endpoint: Endpoint | None = None, proxy: Proxy | None = None
) -> tuple[str, ...]:
    """What to do, with this command and on this machine, about a step that failed with ``error``."""
    if step == "rest":
        return _of_rest(error)
    if step == "key":
        return (
            "set KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH in the environment, or use --key-id "
            "and --key-file",
        )
    if endpoint is None or isinstance(error, ConfigurationError):
        return ()
    if isinstance(error, ProxyError):
        return (
            "the environment sets the proxy: HTTPS_PROXY=http://user:password@host:port, or ALL_PROXY",
            f"to bypass it: NO_PROXY={endpoint.host}",
        )
    if isinstance(error, AuthenticationError):
        return _unauthorized(error, endpoint) if error.status == 401 else _forbidden(error, proxy)
    if isinstance(error, TLSError):
        return (
            f"see who answers: openssl s_client -connect {endpoint.authority} -servername {endpoint.host}",
        )
    if isinstance(error, SubscriptionError):
        env = ", and --env" if _is_kalshis(endpoint) else ""
        return (f"the key works, but not for this: check what the account and the key may do{env}",)
    if isinstance(error, HandshakeRejected):
        return _redirected(endpoint) if 300 <= error.status < 400 else ()
    if isinstance(error, WaitTimeout):
        return (
            "try again with a longer --timeout; if the exchange is in its pause (Thursdays 03:00 to 05:00 US "
            "Eastern), later",
        )
    return _unreachable(step, endpoint)


def _of_rest(error: KalshiFeedError) -> tuple[str, ...]:
    lines = ["the feed itself works; only requests over REST do not"]
    if isinstance(error, RestError) and error.status is None:
        lines.append(
            "a firewall or proxy may allow only the feed's host; to use another REST url: --rest-url or "
            "KALSHI_REST_URL"
        )
    return tuple(lines)


def _is_kalshis(endpoint: Endpoint) -> bool:
    """Whether this is one of the exchanges that --env chooses from, and not another address."""
    return _is_of(endpoint, "kalshi.com") or _is_of(endpoint, "kalshi.co")


def _is_of(endpoint: Endpoint, domain: str) -> bool:
    return endpoint.host == domain or endpoint.host.endswith(f".{domain}")


def _redirected(endpoint: Endpoint) -> tuple[str, ...]:
    return (
        "a feed never follows a redirect: it tries again, at first after a few seconds, and logs a warning "
        "each time",
        f"see what answers: curl -si https://{endpoint.authority}{endpoint.sign_path}",
    )


def _unreachable(step: str, endpoint: Endpoint) -> tuple[str, ...]:
    if endpoint.is_loopback:
        return ("is it running? `kalshi-feed exchange` prints its url once it is listening",)
    if step in ("dns", "tcp"):
        return (
            f"try by hand: curl -v https://{endpoint.authority}/",
            "if this network requires a proxy: export HTTPS_PROXY=http://host:port",
        )
    return ("a firewall may interfere: try from another network, or with a longer --timeout",)


def _unauthorized(error: AuthenticationError, endpoint: Endpoint) -> tuple[str, ...]:
    lines = []
    if UNKNOWN_KEY in error.reason:
        lines.append(
            f"{UNKNOWN_KEY} means that this environment does not know the key id: the wrong key id, or the "
            "wrong environment"
        )
    else:
        lines.append("the key file must be the one that was issued together with this key id")
    if _is_of(endpoint, "kalshi.com"):
        lines.append("a key made on the demo site works there only: kalshi-feed check --env demo")
    elif _is_of(endpoint, "kalshi.co"):
        lines.append("this is the demo environment; for a production key: kalshi-feed check --env production")
    return tuple(lines)


def _forbidden(error: AuthenticationError, proxy: Proxy | None) -> tuple[str, ...]:
    lines = []
    if error.reason.lower().startswith("forbidden"):
        lines.append(
            "this is how the exchange answers an Origin header; none was sent, so something in between adds "
            "one: the tls step above names the certificate's issuer, which is not the exchange's if a "
            "firewall opens the connection"
        )
    if proxy is not None:
        lines.append(f"try without the proxy {proxy}: NO_PROXY=*")
    lines.append("try another network: some networks and countries are refused")
    return tuple(lines)
