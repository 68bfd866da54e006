"""A feed written to a file, and a file played back as a feed.

``writing`` taps a feed and writes down what its session takes in; ``replaying`` gives that to a session
again. The session does no I/O and has no clock of its own, so the same inputs at the same times make the same
messages, books, gaps and statistics. A recording therefore holds inputs, never results.

Layers, from the top: tables > replaying > recorded > (opening > foreign > reading, player, requests);
writing > queue; both build on checkpoint > lines > files.
"""
