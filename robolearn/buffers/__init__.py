"""Storage and return computation."""
