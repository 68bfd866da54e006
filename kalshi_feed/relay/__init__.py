"""One connection to the exchange for many processes and machines: a relay over Redis Streams.

A relay writes what its feed's session takes in to a stream in Redis: the recording's own lines, and the
frames of each read. A consumer (``KalshiFeed.from_relay()``) gives that to a session of its own, and
the same inputs make the same books, messages and gaps as at the relay.

Layers, downwards: relay > (publishing, leases, serving), and consumer > (stream_reader > tracking, mirror,
unpacking, consumer_requests > wish_list); both build on layout, wishes and client. Needs the extra ``redis``.
"""

from .relay import Relay
from .stats import RelayStats

__all__ = ["Relay", "RelayStats"]
