"""Realistic bugs, put into a copy of the package one at a time. The property and state tests must catch
each."""
