"""Bytes: the dial (DNS, proxy, TLS, upgrade under one deadline), the open connection, and the reader thread's loop.

The only part of the package that may import ``ssl``, ``socket``, ``select`` and ``websocket``. Must not import the
session, the books, the dispatcher or the feed: only ``kalshi_feed.errors``.
"""
