"""Users' requests have one owner, and one method empties them."""

from __future__ import annotations

from kalshi_feed.session.wanted import Pending, Want, Wanted

IN_TRAYS = set(vars(Wanted())) - {"wants", "channels"}


def test_take_pending_takes_every_in_tray() -> None:
    assert set(Pending._fields) == IN_TRAYS
    wanted = Wanted()
    assert not wanted.has_pending
    wanted.add(Want(("orderbook_delta",), "market_tickers", ("A",), {}))
    wanted.snapshots["A"] = None
    wanted.questions["indexlist", "cfbenchmarks_value"] = None
    wanted.lists.append([])
    taken = wanted.take_pending()
    assert taken == (
        {"orderbook_delta"},
        {"A": None},
        {"A": None},
        {("indexlist", "cfbenchmarks_value"): None},
        [[]],
    )
    assert not wanted.has_pending and not any(vars(wanted)[name] for name in IN_TRAYS)
    wanted.snapshots["B"] = None
    assert wanted.has_pending and list(taken.snapshots) == ["A"], "what was taken is the taker's"


def test_each_in_tray_alone_is_pending() -> None:
    for name in IN_TRAYS:
        wanted, tray = Wanted(), vars(Wanted())[name]
        if isinstance(tray, set):
            tray.add("x")
        elif isinstance(tray, dict):
            tray["x"] = None
        else:
            tray.append([])
        setattr(wanted, name, tray)
        assert wanted.has_pending, name
