"""A feed written to a file, and a file played back as a feed.

``writing`` taps a feed (see tap.py) and writes what its session takes in; ``replaying`` gives that to a
session again: since the session is sans-IO, the same inputs at the same times make the same messages, books,
gaps and figures. Layers, downwards: tables > replaying > (opening > foreign > reading, player, requests);
writing > queue; both stand on checkpoint > lines > files. Must not import the feed or the connection.
"""
