"""The parts put together: one feed's inside, its state, and what users ask of it. Guarded by the store's
lock."""
