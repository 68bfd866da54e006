"""The tests of kalshi_feed.rest."""
