"""The version, where everything can import it. Must not import anything."""

__version__ = "0.1.0"
