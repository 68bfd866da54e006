"""The fields that each data message must and may have, and the check of a message against them (PROTOCOL.md
6, spec of 2026-10-26).

Owns the table of fields. Pure. A field is written ``name:kind``, ``name?:kind`` if it may be missing, and
just ``name`` if it is a string. Kinds: text (a string), time (RFC 3339), dollars (a decimal string, signed),
price (dollars from 0 to 1), contracts and signed (decimal strings with two decimals), decimal (a decimal
string of any length), int, natural (an int from 0), number, bool, object; ``a|b`` is one of these strings (an
empty alternative is the empty string), ``~kind`` may also be null, ``[kind]`` is a list, ``{name}`` an object
of STRUCTS.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

SIDE = "yes|no"
_STRUCTURES = (
    "banded_centi_cent||linear_cent|deci_cent|tapered_deci_cent|center_whole_edge_half_cent|"
    "center_whole_edge_quint_cent|center_half_edge_half_cent|center_half_edge_quint_cent|center_half_edge_deci_cent|"
    "center_quint_edge_quint_cent|center_quint_edge_deci_cent|center_centi_edge_centi_cent|center_deci_edge_centi_cent"
)
_REASONS = (
    "Decrease|Amend|MarginCancel|SelfTradeCancel|ExpiryCancel|CloseCancel|HaltCancel|Trade|PostOnlyCrossCancel|"
    "ReduceOnlyCancel|SettlementBoundsCancel"
)
_FEES = (
    "quadratic|quadratic_with_maker_fees|quadratic_with_combo_maker_fees|flat|"
    "margin_market_maker_program_fees"
)
_LIFECYCLE = (
    "market_ticker exchange_index?:int open_ts?:int close_ts?:int determination_ts?:int settled_ts?:int "
    "result? "
    "settlement_value?:dollars is_deactivated?:bool additional_metadata?:{metadata} "
    f"price_level_structure?:{_STRUCTURES}"
)
_STRIKES = "strike_type? floor_strike?:number cap_strike?:number custom_strike?:object"
_OFFERS = (
    "yes_contracts_offered_fp?:contracts no_contracts_offered_fp?:contracts rfq_target_cost_dollars?:dollars"
)
_BIDS = "market_ticker event_ticker? yes_bid_dollars:price no_bid_dollars:price"
_RFQ = "id creator_id market_ticker event_ticker? contracts_fp?:contracts target_cost_dollars?:dollars"
_QUOTE = f"quote_id rfq_id quote_creator_id rfq_creator_id {_BIDS} {_OFFERS} subaccount?:int"
_EXECUTED = (
    "rfq_batch_id rfq_creator_id executed_rfq_ids:[text] failed_rfq_ids:[text] executed_ts:time "
    "close_reason subaccount?:int"
)

MESSAGES = {
    "orderbook_snapshot": "market_ticker market_id clock:natural yes_dollars_fp?:[level] "
    "no_dollars_fp?:[level]",
    "orderbook_delta": (
        f"market_ticker market_id clock:natural price_dollars:price delta_fp:signed side:{SIDE} "
        "client_order_id? "
        "ts?:time ts_ms?:int subaccount?:int"
    ),
    "ticker": (
        "market_id market_ticker price_dollars:price yes_bid_dollars:price yes_ask_dollars:price "
        "volume_fp:contracts "
        "open_interest_fp:contracts dollar_volume:int dollar_open_interest:int yes_bid_size_fp:contracts "
        "yes_ask_size_fp:contracts last_trade_size_fp:contracts ts:int ts_ms:int time:time"
    ),
    "trade": (
        "trade_id market_ticker yes_price_dollars:price no_price_dollars:price count_fp:contracts "
        f"taker_side:{SIDE} taker_outcome_side:{SIDE} taker_book_side:bid|ask is_block_trade:bool ts:int "
        "ts_ms:int"
    ),
    "fill": (
        f"trade_id order_id client_order_id? market_ticker exchange_index:int is_taker:bool side:{SIDE} "
        "ts:int "
        "ts_ms:int yes_price_dollars:price count_fp:contracts fee_cost:dollars "
        f"action:buy|sell|sell_partial|sell_to_close| post_position_fp:signed purchased_side:{SIDE} "
        f"outcome_side:{SIDE} book_side:bid|ask subaccount?:int"
    ),
    "user_order": (
        "order_id user_id ticker exchange_index:int status:resting|canceled|executed|unknown "
        f"side:{SIDE} is_yes:bool outcome_side:{SIDE} book_side:bid|ask yes_price_dollars:price "
        "fill_count_fp:contracts remaining_count_fp:contracts initial_count_fp:contracts "
        "taker_fill_cost_dollars:dollars maker_fill_cost_dollars:dollars taker_fees_dollars:dollars "
        "maker_fees_dollars:dollars client_order_id order_group_id? "
        "self_trade_prevention_type?:taker_at_cross|maker created_time:~time last_update_time?:time "
        "expiration_time?:time expiration_ts_ms?:int created_ts_ms:~int last_updated_ts_ms?:int "
        f"last_update_reason?:{_REASONS} subaccount_number?:int"
    ),
    "market_position": (
        "user_id market_ticker position_fp:signed position_cost_dollars:dollars realized_pnl_dollars:dollars "
        "fees_paid_dollars:dollars position_fee_cost_dollars:dollars volume_fp:contracts subaccount?:int"
    ),
    "market_lifecycle_v2": (
        f"{_LIFECYCLE} price_ranges?:[{{range}}] event_type:"
        "created|deactivated|activated|close_date_updated|determined|settled|price_level_structure_updated"
    ),
    "metadata_updated": f"event_type:metadata_updated market_ticker yes_sub_title? {_STRIKES}",
    "multivariate_market_lifecycle": (
        f"{_LIFECYCLE} event_type:created|deactivated|activated|close_date_updated|determined|settled"
    ),
    "event_lifecycle": (
        "event_ticker exchange_index:int title subtitle collateral_return_type:MECNET|DIRECNET| "
        "series_ticker "
        "strike_date?:int strike_period?"
    ),
    "event_fee_update": f"event_ticker fee_type_override:~{_FEES} fee_multiplier_override:~number",
    "order_group_updates": (
        "event_type:created|triggered|reset|deleted|limit_updated order_group_id "
        "contracts_limit_fp?:contracts ts_ms:int"
    ),
    "rfq_created": f"{_RFQ} created_ts:time mve_collection_ticker? mve_selected_legs?:[{{leg}}]",
    "rfq_deleted": f"{_RFQ} deleted_ts:time",
    "quote_created": f"{_QUOTE} created_ts:time",
    "quote_accepted": f"{_QUOTE} accepted_side?:{SIDE} contracts_accepted_fp?:contracts",
    "quote_executed": (
        "quote_id rfq_id quote_creator_id rfq_creator_id order_id client_order_id market_ticker "
        "executed_ts:time "
        "subaccount?:int rfq_batch_id?"
    ),
    "rfq_batch_created": "id creator_id created_ts:time legs:[{leg}] rfqs:[{child_rfq}]",
    "rfq_batch_deleted": "id creator_id rfq_ids:[text] deleted_ts:time",
    "rfq_batch_best_quotes": (
        "rfq_batch_id client_batch_id? version:natural updated_ts:time yes_complete:bool no_complete:bool "
        "rfqs:[{best_quote}] subaccount?:int"
    ),
    "rfq_batch_executed": f"client_batch_id? {_EXECUTED}",
    "batch_quote_created": (
        "batch_quote_id rfq_batch_id quote_creator_id created_ts:time quotes:[{child_quote}] subaccount?:int"
    ),
    "batch_quote_accepted": (
        f"batch_quote_id rfq_batch_id quote_creator_id rfq_creator_id accepted_side:{SIDE} accepted_ts:time "
        "quotes:[{accepted_quote}] subaccount?:int"
    ),
    "batch_quote_executed": f"batch_quote_id {_EXECUTED}",
    "cfbenchmarks_value": (
        "index_id received_at:int data avg_60s_data:{average} last_60s_windowed_average_15min?:{average}"
    ),
    "cfbenchmarks_value_indexlist": "index_ids:[text]",
    "cfbenchmarks_value_5hz": "index_id value_usd:decimal source_ts_ms:int received_at:int data",
    "cfbenchmarks_value_5hz_indexlist": "index_ids:[text]",
    "pyth_value": "underlying_ticker value_usd:decimal source_ts_ms:int received_at:int",
    "pyth_value_underlying_list": "underlying_tickers:[text]",
}
"""Message type -> fields of ``msg``; ``metadata_updated`` is the second shape of market_lifecycle_v2."""

STRUCTS = {
    "metadata": (
        "name title yes_sub_title no_sub_title rules_primary rules_secondary can_close_early:bool "
        "event_ticker "
        f"expected_expiration_ts:int {_STRIKES}"
    ),
    "range": "start:price end:price step:price",
    "leg": f"event_ticker market_ticker side:{SIDE} yes_settlement_value_dollars?:dollars",
    "child_rfq": (
        "id market_ticker event_ticker? contracts_fp?:contracts target_cost_dollars?:dollars "
        "mve_collection_ticker? "
        "leg_indices:[int]"
    ),
    "child_quote": f"quote_id rfq_id {_BIDS} {_OFFERS}",
    "accepted_quote": f"quote_id rfq_id {_BIDS} {_OFFERS} contracts_accepted_fp?:contracts",
    "best_quote": (
        "rfq_id market_ticker event_ticker? yes_bid_dollars?:price no_bid_dollars?:price "
        f"contracts_fp?:contracts {_OFFERS}"
    ),
    "average": "value:decimal window_size:natural window_start_ts_ms:int window_end_ts_exclusive:int",
}

CHANNEL_TYPES = {
    "orderbook_delta": ("orderbook_snapshot", "orderbook_delta"),
    "user_orders": ("user_order",),
    "market_positions": ("market_position",),
    "market_lifecycle_v2": ("market_lifecycle_v2", "event_lifecycle", "event_fee_update"),
    "multivariate_market_lifecycle": ("multivariate_market_lifecycle", "event_lifecycle"),
    "communications": tuple(type_ for type_ in MESSAGES if type_.startswith(("rfq_", "quote_", "batch_"))),
    "cfbenchmarks_value": ("cfbenchmarks_value", "cfbenchmarks_value_indexlist"),
    "cfbenchmarks_value_5hz": ("cfbenchmarks_value_5hz", "cfbenchmarks_value_5hz_indexlist"),
    "pyth_value": ("pyth_value", "pyth_value_underlying_list"),
}
"""The message types of a channel, where there are others than the channel's own name (PROTOCOL.md 2)."""

Fields = Mapping[str, tuple[bool, str]]  # name -> (required, kind)

_DOLLARS = re.compile(r"-?[0-9]+(\.[0-9]{1,6})?")
_PATTERNS = {
    "dollars": _DOLLARS,
    "price": re.compile(r"0(\.[0-9]{1,4})?|1(\.0{1,4})?"),
    "contracts": re.compile(r"[0-9]+\.[0-9]{2}"),
    "signed": re.compile(r"-?[0-9]+\.[0-9]{2}"),
    "decimal": re.compile(r"-?[0-9]+(\.[0-9]+)?"),
    "time": re.compile(
        r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
    ),
}
_MEANING = {
    "dollars": "a decimal string like '0.4800'",
    "price": "a decimal string from '0' to '1' with at most four decimals",
    "contracts": "a decimal string with two decimals, like '12.00'",
    "signed": "a decimal string with two decimals, like '-12.00'",
    "decimal": "a decimal string",
    "text": "a string",
    "time": "an RFC 3339 string like '2026-10-26T12:00:00Z'",
    "natural": "an int of at least 0",
    "level": "a pair [price, contracts] of strings",
}


def _parse(text: str) -> Fields:
    fields = {}
    for item in text.split():
        name, _, kind = item.partition(":")
        fields[name.removesuffix("?")] = (not name.endswith("?"), kind or "text")
    return fields


FIELDS: Mapping[str, Fields] = {name: _parse(text) for name, text in MESSAGES.items()}
STRUCT_FIELDS: Mapping[str, Fields] = {name: _parse(text) for name, text in STRUCTS.items()}


def types_of(channel: str) -> tuple[str, ...]:
    """The message types of a channel."""
    return CHANNEL_TYPES.get(channel, (channel,))


def check_message(channel: str, type_: str, msg: Mapping[str, Any]) -> None:
    """Check a message, and that its type belongs to the channel. Raises ValueError."""
    try:
        if type_ in MESSAGES and type_ not in types_of(channel):
            raise ValueError(f"{type_} is not a message of {channel} (it has {', '.join(types_of(channel))})")
        check(type_, msg)
    except ValueError as error:
        raise ValueError(f"{error}; check=False sends it anyway") from None


def check(type_: str, msg: Mapping[str, Any]) -> None:
    """Check that the exchange would write ``msg`` like this. Raises ValueError that names the first wrong
    field.

    Types that are not in the table pass.
    """
    shape = type_
    if type_ == "market_lifecycle_v2" and msg.get("event_type") == "metadata_updated":
        shape = "metadata_updated"
    if shape in FIELDS:
        _check_fields(type_, FIELDS[shape], msg)


def _check_fields(where: str, fields: Fields, msg: Mapping[str, Any]) -> None:
    for name, (required, kind) in fields.items():
        if name in msg:
            _check_value(f"{where}.{name}", kind, msg[name])
        elif required:
            raise ValueError(f"{where} lacks the field {name!r} ({_meaning(kind)})")
    for name in msg:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, 1)
            raise ValueError(
                f"{where} has no field {name!r}" + (f": did you mean {near[0]!r}?" if near else "")
            )


def _check_value(where: str, kind: str, value: Any) -> None:
    if kind.startswith("["):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, got {value!r}")
        for number, item in enumerate(value):
            _check_value(f"{where}[{number}]", kind[1:-1], item)
    elif kind.startswith("{"):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be an object, got {value!r}")
        _check_fields(where, STRUCT_FIELDS[kind[1:-1]], value)
    elif not (_fits(kind.removeprefix("~"), value) or (value is None and kind.startswith("~"))):
        raise ValueError(f"{where} must be {_meaning(kind)}, got {value!r}")


def _fits(kind: str, value: Any) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("int", "natural", "number"):
        allowed = (int, float) if kind == "number" else (int,)
        return (
            isinstance(value, allowed) and not isinstance(value, bool) and (kind != "natural" or value >= 0)
        )
    if kind == "object":
        return isinstance(value, Mapping)
    if kind == "level":
        return (
            isinstance(value, list | tuple)
            and len(value) == 2
            and _fits("price", value[0])
            and _fits("contracts", value[1])
        )
    if not isinstance(value, str):
        return False
    if kind in _PATTERNS:
        return _PATTERNS[kind].fullmatch(value) is not None
    return kind == "text" or value in kind.split("|")


def _meaning(kind: str) -> str:
    if kind.startswith("~"):
        return f"{_meaning(kind[1:])} or null"
    if kind.startswith("["):
        return "a list"
    if kind.startswith("{"):
        return "an object"
    if "|" in kind:
        return "one of " + ", ".join(repr(choice) for choice in kind.split("|"))
    return _MEANING.get(kind, kind)
