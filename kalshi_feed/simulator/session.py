"""The exchange's side of one connection: commands in, numbered messages out (PROTOCOL.md 3-5). Sans-IO.

Owns the connection's subscriptions, sids and sequence numbers. Everything here runs under the exchange's lock
and only queues bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from . import commands, wire
from .commands import TERMINAL, TEXTS, CommandError
from .markets import Market, unknown_snapshot
from .settings import ExchangeSettings
from .subscriptions import ALL, FILTERED, INDEX_ACTIONS, SEQUENCED, OpenChannel
from .wire import WireMessage


class Venue(Protocol):
    """What a session needs of the exchange."""

    settings: ExchangeSettings

    def now_us(self) -> int: ...
    def find_market(self, ticker: str) -> Market | None: ...
    def find_market_by_id(self, market_id: str) -> Market | None: ...
    def reference_names(self, channel: str) -> list[str]: ...
    def early_end(self, channel: str) -> int | None: ...


class Outlet(Protocol):
    """Where a session's messages go."""

    def emit(self, type_: str, payload: bytes) -> None: ...
    @property
    def overflowing(self) -> bool: ...


class ServerSession:
    """Subscriptions of one connection. Not thread-safe: the exchange's lock guards it."""

    def __init__(self, venue: Venue, outlet: Outlet) -> None:
        self._venue = venue
        self._outlet = outlet
        self.subscriptions: dict[str, OpenChannel] = {}  # by channel
        self._last_sid = 0

    # -- sending ---------------------------------------------------------------------------------------------
    def _emit(self, type_: str, msg: Any, **parts: int | None) -> None:
        encoded = None if msg is None else wire.encode_json(msg)
        self._outlet.emit(type_, wire.envelope(type_, encoded, self._venue.now_us() // 1000, **parts))

    def publish(self, subscription: OpenChannel, message: WireMessage) -> None:
        """Send a data message with the subscription's next number."""
        self._deliver(subscription, message.type, message.encoded(subscription.use_yes_price), None)

    def _deliver(
        self, subscription: OpenChannel, type_: str, msg: bytes, id_: int | None, numbered: str = "next"
    ) -> None:
        if self.subscriptions.get(subscription.channel) is not subscription:
            return  # an overflow has ended it between two messages
        seq: int | None = None
        if subscription.sequenced and numbered != "none":
            seq = subscription.next_seq() if numbered == "next" else subscription.seq
        now_ms = self._venue.now_us() // 1000
        self._outlet.emit(type_, wire.envelope(type_, msg, now_ms, sid=subscription.sid, seq=seq, id_=id_))
        if self._outlet.overflowing:
            self.fail(subscription, 25)

    def fail(self, subscription: OpenChannel, code: int, text: str | None = None) -> None:
        """Send an error about a subscription; a terminal one ends it."""
        seq = subscription.next_seq() if subscription.sequenced else None
        msg = {"code": code, "msg": text or TEXTS.get(code, "Unknown error")}
        self._emit("error", msg, sid=subscription.sid, seq=seq)
        if code in TERMINAL:
            self.subscriptions.pop(subscription.channel, None)

    def error(self, code: int, text: str | None = None, id_: int | None = None) -> None:
        """Send an error about a command, or about nothing in particular."""
        self._emit("error", {"code": code, "msg": text or TEXTS.get(code, "Unknown error")}, id_=id_)

    def end(self, subscription: OpenChannel, id_: int | None = None) -> None:
        """Send ``unsubscribed``, which takes a number (PROTOCOL.md 4)."""
        self.subscriptions.pop(subscription.channel, None)
        self._emit(
            "unsubscribed", None, id_=id_, sid=subscription.sid, seq=self._reply_seq(subscription, True)
        )

    def snapshot(
        self, subscription: OpenChannel, ticker: str, id_: int | None = None, numbered: str = "next"
    ) -> None:
        """Send a market's snapshot; that of an unknown market is empty and has no id (PROTOCOL.md 5.4)."""
        if ticker in self._venue.settings.mute_books:
            return
        market = self._venue.find_market(ticker)
        msg = unknown_snapshot(ticker) if market is None else market.snapshot(subscription.use_yes_price)
        self._deliver(subscription, "orderbook_snapshot", wire.encode_json(msg), id_, numbered)

    def _reply_seq(self, subscription: OpenChannel, always: bool = False) -> int | None:
        if not self._venue.settings.quirks.replies_have_seq or not (subscription.sequenced or always):
            return None
        return subscription.seq if self._venue.settings.quirks.replies_repeat_seq else subscription.next_seq()

    def _ok(self, subscription: OpenChannel, id_: int | None) -> None:
        msg: dict[str, Any] | None = {}
        if subscription.channel in INDEX_ACTIONS:
            names = [ALL] if ALL in subscription.names else self._listed(subscription.names)
            msg = {INDEX_ACTIONS[subscription.channel][3]: names}
        elif subscription.skip_ticker_ack:
            msg = None
        elif not subscription.everything:
            msg = {"market_tickers": self._listed(subscription.market_tickers)}
            if subscription.market_ids:
                msg = {"market_ids": self._listed(subscription.market_ids)}
        self._emit("ok", msg, id_=id_, sid=subscription.sid, seq=self._reply_seq(subscription))

    def _listed(self, names: Iterable[str]) -> list[str]:
        return list(names) if self._venue.settings.quirks.lists_in_order else sorted(names)

    # -- commands --------------------------------------------------------------------------------------------
    def command(self, command: dict[str, Any]) -> None:
        """Answer one command. Whatever it contains, the answer is a message, never an exception."""
        id_ = command.get("id")
        if isinstance(id_, bool) or not isinstance(id_, int | None) or (id_ or 0) < 0:
            return self.error(1)
        id_ = id_ or None
        try:
            name, params = command.get("cmd"), command.get("params")
            if name == "list_subscriptions":
                subscriptions = self.subscriptions.values()
                return self._emit(
                    "ok", [{"channel": item.channel, "sid": item.sid} for item in subscriptions], id_=id_
                )
            if name not in ("subscribe", "unsubscribe", "update_subscription"):
                raise CommandError(5)
            if params is None:
                raise CommandError(2)
            if not isinstance(params, dict):
                raise CommandError(1)
            if name == "subscribe":
                self._subscribe(params, id_)
            elif name == "unsubscribe":
                self._unsubscribe(params, id_)
            else:
                self._update(params, id_)
        except CommandError as error:
            self.error(error.code, error.text, id_)

    def _subscribe(self, params: dict[str, Any], id_: int | None) -> None:
        channels = commands.strings(params, "channels")
        if not channels:
            raise CommandError(3)
        if any(channel not in SEQUENCED for channel in channels):
            raise CommandError(8)
        if any(channel in self._venue.settings.not_entitled for channel in channels):
            raise CommandError(9)
        tickers, ids = commands.markets(params)
        if "orderbook_delta" in channels and not tickers:
            raise CommandError(self._venue.settings.quirks.missing_ticker_code)
        if ids and channels != ["ticker"]:
            raise CommandError(11)
        commands.check_shards(params)
        commands.check_user_filter(params)
        for channel in channels:
            if channel in INDEX_ACTIONS:
                commands.strings(params, INDEX_ACTIONS[channel][3])
        for name in ("use_yes_price", "skip_ticker_ack", "send_initial_snapshot"):
            commands.flag(params, name)  # refuse the whole command, not just its second half
        for channel in channels:
            existing = self.subscriptions.get(channel)
            if channel in FILTERED:
                self._check_limit(existing or OpenChannel(channel, 0, everything=False), tickers, ids)
            if existing is not None:
                self._check_rate(existing)
        for channel in dict.fromkeys(channels):
            subscription = self.subscriptions.get(channel)
            if subscription is None:
                self._open(channel, tickers, ids, params, id_)
            else:
                subscription.everything |= not (tickers or ids)
                self._grow(subscription, tickers, ids, params, id_)

    def _open(
        self, channel: str, tickers: list[str], ids: list[str], params: dict[str, Any], id_: int | None
    ) -> None:
        self._last_sid += 1
        subscription = OpenChannel(
            channel,
            self._last_sid,
            everything=channel not in FILTERED or not (tickers or ids),
            use_yes_price=self._scale(commands.flag(params, "use_yes_price")),
            skip_ticker_ack=commands.flag(params, "skip_ticker_ack"),
            own_only=params.get("user_filter") == "self",
            shard_factor=params.get("shard_factor"),
            shard_key=params.get("shard_key") or 0,
        )
        initial = commands.flag(params, "send_initial_snapshot")
        self._include_names(subscription, params)
        self.subscriptions[channel] = subscription
        new = subscription.include(tickers, ids)
        code = self._venue.early_end(channel)
        if code is not None:
            self.fail(subscription, code)  # from here on only its ``subscribed`` is sent: it is dead
        quirks = self._venue.settings.quirks
        if quirks.snapshot_before_subscribed:
            self._send_initial(subscription, *new, initial)
        reply = {"channel": channel, "sid": subscription.sid}
        self._emit("subscribed", reply, id_=id_ if quirks.echo_id else None)
        if not quirks.snapshot_before_subscribed:
            self._send_initial(subscription, *new, initial)

    def _grow(
        self,
        subscription: OpenChannel,
        tickers: list[str],
        ids: list[str],
        params: dict[str, Any],
        id_: int | None,
    ) -> None:
        """Send ``ok`` with the whole list, then snapshots of the new markets only (PROTOCOL.md 5.3, 3.3)."""
        initial = commands.flag(params, "send_initial_snapshot")
        new = subscription.include(tickers, ids)
        self._include_names(subscription, params)
        self._ok(subscription, id_)
        self._send_initial(subscription, *new, initial)

    def _scale(self, asked_for: bool) -> bool:
        always = self._venue.settings.quirks.use_yes_price
        return asked_for if always is None else always

    def _include_names(self, subscription: OpenChannel, params: dict[str, Any]) -> None:
        if subscription.channel in INDEX_ACTIONS:
            subscription.names.update(
                dict.fromkeys(commands.strings(params, INDEX_ACTIONS[subscription.channel][3]))
            )

    def _check_limit(self, subscription: OpenChannel, tickers: list[str], ids: list[str]) -> None:
        limit, at_once = self._venue.settings.market_limit, self._venue.settings.tickers_per_command
        if limit is not None and subscription.market_count(tickers, ids) > limit:
            raise CommandError(26)
        if at_once is not None and len(tickers) + len(ids) > at_once:
            raise CommandError(26)

    def _check_rate(self, subscription: OpenChannel) -> None:
        limit = self._venue.settings.command_limit
        if limit is not None and not subscription.may_change(self._venue.now_us(), limit):
            raise CommandError(27)

    def _send_initial(
        self, subscription: OpenChannel, tickers: list[str], ids: list[str], initial: bool
    ) -> None:
        if subscription.channel == "orderbook_delta":
            for ticker in tickers:
                if (
                    self._venue.find_market(ticker) is None
                    and not self._venue.settings.quirks.unknown_markets_flow
                ):
                    subscription.deaf.add(ticker)
                self.snapshot(subscription, ticker)
        elif subscription.channel == "ticker" and initial:
            named: Iterable[Market | None] = [self._venue.find_market(ticker) for ticker in tickers]
            named = [*named, *(self._venue.find_market_by_id(market_id) for market_id in ids)]
            for market in named:
                if market is not None:
                    self.publish(
                        subscription, WireMessage("ticker", market.ticker_message(self._venue.now_us()))
                    )

    def _unsubscribe(self, params: dict[str, Any], id_: int | None) -> None:
        sids = commands.integers(params, "sids")
        if not sids:
            raise CommandError(4)
        unknown = False
        for sid in dict.fromkeys(sids):
            subscription = self._by_sid(sid)
            if subscription is None:
                unknown = True
            else:
                self.end(subscription, id_)
        if unknown:
            raise CommandError(7)

    def _by_sid(self, sid: int) -> OpenChannel | None:
        return next((item for item in self.subscriptions.values() if item.sid == sid), None)

    def _update(self, params: dict[str, Any], id_: int | None) -> None:
        targets = [*commands.integers(params, "sids"), *([params["sid"]] if "sid" in params else [])]
        if len(targets) != 1:
            raise CommandError(12)
        if isinstance(targets[0], bool) or not isinstance(targets[0], int):
            raise CommandError(1)
        subscription = self._by_sid(targets[0])
        if subscription is None:
            raise CommandError(7)
        action = params.get("action")
        if not action:
            raise CommandError(15)
        self._check_rate(subscription)
        if subscription.channel in INDEX_ACTIONS:
            self._update_names(subscription, action, params, id_)
        elif action == "get_snapshot" and subscription.channel == "orderbook_delta":
            self._get_snapshot(subscription, params, id_)
        elif action in ("add_markets", "delete_markets") and subscription.channel in FILTERED:
            tickers, ids = commands.markets(params)
            if ids and subscription.channel != "ticker":
                raise CommandError(11)
            if not (tickers or ids):
                raise CommandError(14)
            if action == "add_markets":
                self._check_limit(subscription, tickers, ids)
                self._grow(subscription, tickers, ids, params, id_)
            else:
                for ticker in tickers:
                    subscription.market_tickers.pop(ticker, None)
                    subscription.deaf.discard(ticker)
                for market_id in ids:
                    subscription.market_ids.pop(market_id, None)
                self._ok(subscription, id_)
        else:
            raise CommandError(13)

    def _get_snapshot(self, subscription: OpenChannel, params: dict[str, Any], id_: int | None) -> None:
        """Send one snapshot per market, with the command's id; only ``market_tickers`` counts (PROTOCOL.md
        3.3)."""
        tickers = commands.strings(params, "market_tickers")
        if not tickers:
            raise CommandError(14)
        if self._venue.settings.quirks.get_snapshot_ok:
            self._ok(subscription, id_)
        for ticker in dict.fromkeys(tickers):
            self.snapshot(subscription, ticker, id_, self._venue.settings.quirks.get_snapshot_seq)

    def _update_names(
        self, subscription: OpenChannel, action: Any, params: dict[str, Any], id_: int | None
    ) -> None:
        add, drop, list_, key, code = INDEX_ACTIONS[subscription.channel]
        if action == list_:
            type_, seq = f"{subscription.channel}_{list_}", subscription.next_seq()
            # everything the exchange offers, not what is subscribed
            msg = {key: self._venue.reference_names(subscription.channel)}
            return self._emit(type_, msg, id_=id_, sid=subscription.sid, seq=seq)
        if action not in (add, drop):
            raise CommandError(13)
        names = commands.strings(params, key)
        if not names:
            raise CommandError(code)
        for name in names:
            if action == add:
                subscription.names[name] = None
            elif name == ALL:
                subscription.names.clear()
            else:
                subscription.names.pop(name, None)
        self._ok(subscription, id_)
