"""What can be wrong with one recorded episode."""

from collections import Counter
from collections.abc import Iterator, Sequence

import gymnasium as gym
import numpy as np

from robolearn.environments import HELD_OUT
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.findings import Finding, Part

FROZEN = 0.9
"""Part of the steps that leave the observation as it was from which on it counts as frozen."""
STRETCH = 10
"""Steps in a row without a change of the observation that are worth a look."""
_FEWEST = 5  # steps from which one can tell
_NUMBERS = "biuf"  # kinds of dtype


def structure(k: int, arrays: Sequence[Part]) -> list[Finding]:
    """Return what is wrong with shapes and lengths.

    Args:
        k: The episode's number.
        arrays: Its arrays.
    """
    broken = [Finding("error", "shape", why, k, part.key) for part, why in _misshapen(arrays)]
    named = {finding.key for finding in broken}
    sound = [part for part in arrays if part.key not in named]
    steps = _steps(sound)
    if not steps:
        return [*broken, Finding("error", "length", "it has no steps.", k)]
    return broken + [
        Finding(
            "error",
            "length",
            f"has {len(part.array)} entries, expected {steps + part.extra} of {steps} steps.",
            k,
            part.key,
        )
        for part in sound
        if len(part.array) != steps + part.extra
    ]


def _misshapen(arrays: Sequence[Part]) -> Iterator[tuple[Part, str]]:
    for part in arrays:
        shape, dtype = part.array.shape, part.array.dtype
        if dtype.kind not in _NUMBERS:
            yield part, f"holds {dtype}, expected numbers."
        elif not shape or (part.shape is not None and shape[1:] != part.shape):
            expected = "(steps, ...)" if part.shape is None else str(("steps", *part.shape))
            yield part, f"has shape {shape}, expected {expected.replace(chr(39), '')}."


def _steps(arrays: Sequence[Part]) -> int:
    """Return the number of steps that most arrays agree on; 0 for none."""
    counts = Counter(len(part.array) - part.extra for part in arrays)
    return max(counts.most_common(1)[0][0], 0) if counts else 0


def contents(
    k: int, one: Demonstration, arrays: Sequence[Part], limit: int | None
) -> list[Finding]:
    """Return what is wrong inside an episode whose shapes and lengths are right.

    Args:
        k: The episode's number.
        one: The episode.
        arrays: Its arrays.
        limit: Steps at which the environment truncates; None where it does not, or nobody knows.
    """
    found = [finding for part in arrays for finding in _numbers(k, part)]
    found += _ends(k, one, limit)
    found += _frozen(k, one, [part.array for part in arrays if part.key.startswith("observation")])
    if one.seed is not None and one.seed >= HELD_OUT:
        text = f"began with seed {one.seed}: {HELD_OUT} and up are kept for evaluations."
        found.append(Finding("warning", "seed", text, k))
    return found


def _numbers(k: int, part: Part) -> Iterator[Finding]:
    """Yield what is not finite, else what lies outside its space."""
    if part.array.dtype.kind == "f":
        bad = ~np.isfinite(part.array)
        if bad.any():
            text = f"holds {_first(part.array, bad)}, expected finite numbers."
            yield Finding("error", "finite", text, k, part.key)
            return
    bad, expected = _outside(part)
    if bad.any():
        text = f"holds {_first(part.array, bad)}, expected {expected}."
        yield Finding("error", "bounds", text, k, part.key)


def _outside(part: Part) -> tuple[np.ndarray, str]:
    """Return which entries lie outside the part's space, and what the space allows."""
    space, array = part.space, part.array
    if isinstance(space, gym.spaces.Box):
        bounds = f"{space.low.min():g} to {space.high.max():g}"
        return (array < space.low) | (array > space.high), bounds
    if isinstance(space, gym.spaces.Discrete):
        first, last = int(space.start), int(space.start + space.n) - 1
        wrong = (array < first) | (array > last) | (array % 1 != 0)
        return wrong, f"an integer in {first}..{last}"
    if isinstance(space, gym.spaces.MultiDiscrete):
        wrong = (array < space.start) | (array >= space.start + space.nvec) | (array % 1 != 0)
        return wrong, f"integers below {space.nvec.tolist()}"
    if isinstance(space, gym.spaces.MultiBinary):
        return (array != 0) & (array != 1), "0 or 1"
    return np.zeros(array.shape, dtype=np.bool_), ""


def _first(array: np.ndarray, bad: np.ndarray) -> str:
    """Return the first bad number, its place, and how many there are."""
    step, *place = (int(i) for i in np.argwhere(bad)[0])
    entry = f", entry {', '.join(map(str, place))}" if place else ""
    more = f" and {bad.sum() - 1} more" if bad.sum() > 1 else ""
    return f"{array[(step, *place)]:g} at step {step}{entry}{more}"


def _ends(k: int, one: Demonstration, limit: int | None) -> Iterator[Finding]:
    """Yield what is wrong with where the episode ends."""
    steps = len(one)
    over = np.asarray(one.terminated, dtype=np.bool_) | np.asarray(one.truncated, dtype=np.bool_)
    inside = np.flatnonzero(over[:-1])
    if inside.size:
        text = f"it ends at step {inside[0]} already, and goes on to step {steps - 1}."
        yield Finding("error", "end", text, k)
    if limit is not None and steps > limit:
        text = f"it has {steps} steps, but the environment ends episodes after {limit}."
        yield Finding("error", "end", text, k)
    if over[-1]:
        return
    if one.success is not None or steps == limit:
        why = "its outcome is known" if one.success is not None else "that is the time limit"
        text = f"it has no end at its last step {steps - 1}, but {why}."
        yield Finding("error", "end", text, k)
    else:
        yield Finding("note", "end", f"it was cut off after {steps} steps: nothing ended it.", k)


def _frozen(k: int, one: Demonstration, observations: Sequence[np.ndarray]) -> Iterator[Finding]:
    """Yield where the observation stays what it was although things go on.

    As it looks where a recorder kept the environment's own buffer instead of a copy.
    """
    steps = len(one)
    if steps < _FEWEST:
        return
    same = np.logical_and.reduce([_unchanged(array) for array in observations])
    longest = max(
        (stop - start for start, stop in _runs(same) if _goes_on(one, start, stop)), default=0
    )
    what = "the state moves" if one.state else "actions or rewards change"
    if same.mean() >= FROZEN and longest:
        text = (
            f"does not change in {same.sum()} of {steps} steps while {what}: was one buffer "
            "recorded again and again? Record copies."
        )
        yield Finding("error", "frozen", text, k, "observation")
    elif longest >= STRETCH:
        text = f"does not change for {longest} steps in a row while {what}."
        yield Finding("warning", "frozen", text, k, "observation")


def _unchanged(array: np.ndarray) -> np.ndarray:
    """Return which steps lead to the same as before. Shape (T,), bool."""
    return (array[1:] == array[:-1]).reshape(len(array) - 1, -1).all(axis=1)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return start and stop of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _goes_on(one: Demonstration, start: int, stop: int) -> bool:
    """Return whether something happens in steps start..stop - 1."""
    if one.state:
        return any((rows[start : stop + 1] != rows[start]).any() for rows in one.state.values())
    rows = one.action[start:stop], one.reward[start:stop]
    return any((row != row[0]).any() for row in rows)
