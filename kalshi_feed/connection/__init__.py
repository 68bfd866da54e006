"""Bytes: the dial (DNS, proxy, TLS, upgrade under one deadline), the open connection, and the reader's loop.

Owns every socket of the core.

websocket-client does four things here: it builds the upgrade request and checks the answer's
``Sec-WebSocket-Accept`` (``upgrade``), encodes every frame we send (``transport``), and decodes control
frames (``transport``, out of ``read_ahead``). It never gets a real socket. During the upgrade it talks to
``_HandshakeSocket``, and afterwards ``ReadAhead`` stands in for its socket; neither ever makes it wait.
Everything else is done here: dialing, TLS, deadlines, most of the parsing, compression, UTF-8, pings and the
closing handshake.
"""
