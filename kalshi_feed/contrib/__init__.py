"""Bridges between the feed and other libraries; importing this package imports none of them.

flask: FeedExtension, live books in a Flask application (extra ``flask``). prometheus: FeedCollector, a feed's
metrics for a Prometheus server (extra ``prometheus``). process: ProcessFeed, one feed in each process of a
server that forks. pyinstaller: the hook that a frozen program needs.
"""
