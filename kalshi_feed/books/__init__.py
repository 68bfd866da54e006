"""The books: their levels, one book's arithmetic, and the store with its lock and waiters."""
