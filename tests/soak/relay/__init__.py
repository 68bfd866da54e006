"""The chaos of a relay, its standby, Redis and its consumers, all in processes of their own."""
