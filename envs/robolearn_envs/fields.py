"""What the numbers of observations and of ctrl are."""

from typing import NamedTuple


class Field(NamedTuple):
    """One number of an observation or of ctrl, or several of a kind in a row."""

    name: str
    unit: str = ""
    """SI; "" where there is none."""
    meaning: str = ""
    low: float = -1.0
    """Least value, in parts of ``scale``."""
    high: float = 1.0
    """Greatest value, in parts of ``scale``."""
    scale: float = 1.0
    """How much 1 stands for, in units."""
    size: int = 1
    """How many follow each other."""
