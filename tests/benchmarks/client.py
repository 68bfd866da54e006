"""A client under measurement, in its own process: ``python -m tests.benchmarks.client ORDERS-AS-JSON``;
prints JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys

from tests.benchmarks.orders import Orders

CLIENTS = {  # a client imports only what it measures
    "floor": "floor_clients",
    "websocket_client": "floor_clients",
    "throughput": "feed_clients",
    "latency": "latency_client",
    "rest": "cost_clients",
    "growth": "cost_clients",
    "reading": "cost_clients",
}


def main() -> None:
    """Carry out the orders and print the results."""
    given = json.loads(sys.argv[1])
    orders = Orders(**{**given, "channels": tuple(given.get("channels", Orders._field_defaults["channels"]))})
    if orders.core >= 0:
        os.sched_setaffinity(0, {orders.core})
    if orders.switch_interval:
        sys.setswitchinterval(orders.switch_interval)
    run = getattr(importlib.import_module(f"tests.benchmarks.{CLIENTS[orders.client]}"), orders.client)
    print(json.dumps(run(orders)))


if __name__ == "__main__":
    main()
