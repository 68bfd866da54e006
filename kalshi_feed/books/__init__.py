"""The books: levels, what one book says and does, and the store of all of them with its lock and its
waiters."""
