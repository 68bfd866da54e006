"""The sans-IO core: what is wanted, what is confirmed, sid and seq, repair and retry decisions.

Owns no socket, thread, clock or lock: time is passed in, bytes come in as payloads and go out as commands.
Imports only orderbook, messages and errors. Not thread-safe; whoever holds the store's lock may use it.
"""
