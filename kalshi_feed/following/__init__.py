"""A series or an event as one subscription, whose markets change by themselves: what feed.follow() does.

Layers, downwards: following > follower > roster. Needs the extra ``rest``.
"""
