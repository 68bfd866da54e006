"""Whose sid is whose."""

from __future__ import annotations

from kalshi_feed.session.commands import Command
from kalshi_feed.session.server_subscriptions import Links


def opened(links: Links, name: str, sid: int | None = None) -> None:
    links[name].is_open = True
    if sid is not None:
        links.adopt(links[name], sid)


def test_frames_find_their_link_by_sid_and_by_type_before_it_is_known() -> None:
    links = Links()
    assert links.of_frame(1, "trade") is None
    links["trade"]
    assert links.of_frame(1, "trade") is None  # nothing was asked for
    links["trade"].pending = Command(1, "subscribe", "trade", (), 0.0)
    assert links.of_frame(None, "trade") is links["trade"]
    assert links.of_frame(1, "trade") is links["trade"]
    assert links["trade"].sid == 1
    assert links.of_frame(2, "trade") is None
    assert links.of_frame(1, "whatever") is links["trade"]
    assert links.of_frame(None, "trade") is links["trade"]


def test_a_retired_sid_is_nobodys() -> None:
    links = Links()
    opened(links, "trade", 1)
    links.retire(links["trade"])
    links["trade"].is_open = True
    assert links.of_frame(1, "trade") is None
    assert links.of_sid(1) is None
    opened(links, "trade", 1)  # until it is given anew
    assert links.of_frame(1, "trade") is links["trade"]
    assert not links.retired


def test_retiring_what_had_no_sid() -> None:
    links = Links()
    opened(links, "trade")
    links.retire(links["trade"])
    assert not links["trade"].is_open and not links.retired


def test_one_sid_belongs_to_one_link() -> None:
    links = Links()
    opened(links, "trade", 1)
    opened(links, "fill", 1)
    assert links["trade"].sid is None and links["trade"].next_seq is None  # whatever comes next
    links["user_orders"].next_seq = 5
    links.adopt(links["user_orders"], 1)
    opened(links, "fill", 1)
    assert links["user_orders"].next_seq == 1  # it has yet to begin
    assert links.of_sid(1) is links["fill"]
    links["fill"].next_seq = 5
    opened(links, "fill", 2)
    assert links["fill"].next_seq == 1
    assert links.by_sid == {2: links["fill"]}
    assert links.of_sid(None) is None


def test_of_command() -> None:
    links = Links()
    assert links.of_command(Command(1, "list_subscriptions", "", (), 0.0)) is None
    opened(links, "trade", 1)
    assert links.of_command(Command(1, "unsubscribe", "trade", (), 0.0, sid=1)) is links["trade"]
    assert links.of_command(Command(1, "unsubscribe", "trade", (), 0.0, sid=2)) is None
    assert [link.name for link in links] == ["trade"]
    links.clear()
    assert links.get("trade") is None and not list(links)
