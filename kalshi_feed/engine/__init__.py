"""The parts put together: one feed's inside, its state, and its users' requests."""
