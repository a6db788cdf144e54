"""Vector environments stepped in worker processes, which are replaced when they fail."""
