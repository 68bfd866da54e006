"""What joins the feed to other libraries, each module behind an extra of the same name; imports nothing by
itself.

flask: FeedExtension, live books in a Flask application. process: ProcessFeed, one feed in each process of a
server that forks. prometheus: FeedCollector, a feed's figures for a Prometheus server. pyinstaller: the
hook that a frozen program needs. The feed itself knows none of them.
"""
