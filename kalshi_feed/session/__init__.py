"""The sans-IO core: what is wanted, what is confirmed, sid and seq, repair and retry decisions.

There is no socket, thread, clock or lock in here: the caller passes in the time and the payloads, and takes
away the messages to deliver and the commands to send. Not thread-safe; hold the store's lock to use it.
"""
