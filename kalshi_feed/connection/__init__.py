"""Bytes: the dial (DNS, proxy, TLS, upgrade under one deadline), the open connection, and the reader thread's
loop.

Owns every socket of the core.
"""
