"""The random numbers of a whole process, which foreign environments may draw from.

Ours are drawn from generators that are passed in.
"""

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return where the generators of Python, NumPy and torch are, as JSON can hold it."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - theirs
    state = {
        "python": [version, _hex(np.array(words, dtype=np.uint32)), gauss],
        "numpy": [name, _hex(np.asarray(keys, dtype=np.uint32)), place, has_gauss, cached],
        "torch": _hex(torch.get_rng_state().numpy()),
    }
    if torch.cuda.is_available():
        state["cuda"] = [_hex(words.numpy()) for words in torch.cuda.get_rng_state_all()]
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Go back to what ``random_state`` returned; the part of devices that are not here is left.

    Raises:
        ValueError, TypeError, KeyError, RuntimeError: It is not such a state.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(_words(words, np.uint32).tolist()), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, _words(keys, np.uint32), *rest))  # noqa: NPY002 - theirs
    torch.set_rng_state(torch.from_numpy(_words(state["torch"], np.uint8)))
    if "cuda" in state and torch.cuda.is_available():
        states = [torch.from_numpy(_words(one, np.uint8)) for one in state["cuda"]]
        torch.cuda.set_rng_state_all(states[: torch.cuda.device_count()])


def _hex(array: np.ndarray) -> str:
    return array.tobytes().hex()


def _words(text: str, dtype: type) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), dtype=dtype).copy()
