"""Which sid belongs to which channel."""

from __future__ import annotations

from kalshi_feed.session.commands import Command
from kalshi_feed.session.memory import ReconcilerMemory, SubscriptionMemory
from kalshi_feed.session.server_subscription import ServerSubscriptions


def opened(subscriptions: ServerSubscriptions, name: str, sid: int | None = None) -> None:
    subscriptions[name].is_open = True
    if sid is not None:
        subscriptions.adopt(subscriptions[name], sid)


def test_frames_find_their_subscription_by_sid_and_by_type_before_it_is_known() -> None:
    subscriptions = ServerSubscriptions()
    assert subscriptions.of_frame(1, "trade") is None
    subscriptions["trade"]
    assert subscriptions.of_frame(1, "trade") is None  # nothing was requested
    subscriptions["trade"].pending = Command(1, "subscribe", "trade", (), 0.0)
    assert subscriptions.of_frame(None, "trade") is subscriptions["trade"]
    assert subscriptions.of_frame(1, "trade") is subscriptions["trade"]
    assert subscriptions["trade"].sid == 1
    assert subscriptions.of_frame(2, "trade") is None
    assert subscriptions.of_frame(1, "whatever") is subscriptions["trade"]
    assert subscriptions.of_frame(None, "trade") is subscriptions["trade"]


def test_a_retired_sid_belongs_to_no_channel() -> None:
    subscriptions = ServerSubscriptions()
    opened(subscriptions, "trade", 1)
    subscriptions.retire(subscriptions["trade"])
    subscriptions["trade"].is_open = True
    assert subscriptions.of_frame(1, "trade") is None
    assert subscriptions.of_sid(1) is None
    opened(subscriptions, "trade", 1)  # until the exchange uses it again
    assert subscriptions.of_frame(1, "trade") is subscriptions["trade"]
    assert not subscriptions.retired


def test_retiring_what_had_no_sid() -> None:
    subscriptions = ServerSubscriptions()
    opened(subscriptions, "trade")
    subscriptions.retire(subscriptions["trade"])
    assert not subscriptions["trade"].is_open and not subscriptions.retired


def test_one_sid_belongs_to_one_subscription() -> None:
    subscriptions = ServerSubscriptions()
    opened(subscriptions, "trade", 1)
    opened(subscriptions, "fill", 1)
    # whatever seq comes next is accepted
    assert subscriptions["trade"].sid is None and subscriptions["trade"].next_seq is None
    subscriptions["user_orders"].next_seq = 5
    subscriptions.adopt(subscriptions["user_orders"], 1)
    opened(subscriptions, "fill", 1)
    assert subscriptions["user_orders"].next_seq == 1  # it has yet to begin
    assert subscriptions.of_sid(1) is subscriptions["fill"]
    subscriptions["fill"].next_seq = 5
    opened(subscriptions, "fill", 2)
    assert subscriptions["fill"].next_seq == 1
    assert subscriptions.by_sid == {2: subscriptions["fill"]}
    assert subscriptions.of_sid(None) is None


def test_of_command() -> None:
    subscriptions = ServerSubscriptions()
    assert subscriptions.of_command(Command(1, "list_subscriptions", "", (), 0.0)) is None
    opened(subscriptions, "trade", 1)
    assert (
        subscriptions.of_command(Command(1, "unsubscribe", "trade", (), 0.0, sid=1)) is subscriptions["trade"]
    )
    assert subscriptions.of_command(Command(1, "unsubscribe", "trade", (), 0.0, sid=2)) is None
    assert [subscription.name for subscription in subscriptions] == ["trade"]
    subscriptions.clear()
    assert subscriptions.get("trade") is None and not list(subscriptions)


def test_a_changed_recording_cannot_give_a_channel_or_a_sid_twice() -> None:
    subscriptions = ServerSubscriptions()
    memory = ReconcilerMemory(
        subscriptions=[
            SubscriptionMemory("trade", 1),
            SubscriptionMemory("trade", 2),
            SubscriptionMemory("fill", 1),
            SubscriptionMemory("ticker", 3),
        ]
    )
    subscriptions.restore(memory, {})
    assert [(one.name, one.sid) for one in subscriptions] == [("trade", 1), ("ticker", 3)]
    assert subscriptions.by_sid == {1: subscriptions["trade"], 3: subscriptions["ticker"]}
