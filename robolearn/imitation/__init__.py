"""Learning from experts."""
