"""One connection to the exchange for many processes and machines: a relay over Redis Streams.

A Relay writes everything that its feed's session takes in to a stream in Redis: the frames of each read, and
the recording's lines for all the rest. A consumer, which KalshiFeed.from_relay() makes, gives that to a
session of its own, and the same inputs make the same books, messages and gaps.

What both sides agree on is in layout.py (keys, entries, ids) and wishes.py (requests and answers). The relay:
relay.py starts publishing.py (writes, with streams.py, encoding.py, buffer.py and lease.py) and serving.py
(requests, with registry.py). The consumer: consumer.py is the engine that stream_reader.py feeds, with
tracking.py, unpacking.py and mirror.py; consumer_requests.py and wish_list.py are for its requests. Below
both: client.py (Redis), with wire.py, address.py and refusals.py.

Needs the extra ``redis``.
"""

from .relay import Relay
from .stats import RelayStats

__all__ = ["Relay", "RelayStats"]
