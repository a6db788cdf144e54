"""How many faults a test makes: few every day, many with ROBOLEARN_FAULTS=full."""

import os


def often(small: int, full: int) -> int:
    """Return ``full`` where the many are asked for, else ``small``."""
    return full if os.environ.get("ROBOLEARN_FAULTS") == "full" else small
