"""Realistic bugs, put into a copy of the package one at a time: the property and state tests must catch every
one."""
