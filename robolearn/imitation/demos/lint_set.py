"""What there is to say of recorded episodes taken together."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import gymnasium as gym
import numpy as np

from robolearn.imitation.demos.episodes import Demonstration, Demonstrations
from robolearn.imitation.demos.findings import Finding, observed

SATURATED = 0.5
"""Part of continuous actions at their bounds from which on it is worth a look."""
ALWAYS = 0.98
"""Part of discrete actions that are the same one from which on it is worth a look."""
_ROUNDING = 1e-5  # of a return that was summed in single precision

Numbered = Mapping[int, Demonstration]
"""Episodes by their number."""


def together(
    demos: Demonstrations, episodes: Numbered, stated: Sequence[float | None] | None
) -> Iterator[Finding]:
    """Yield what there is to say.

    Args:
        demos: The set.
        episodes: Those of its episodes whose shapes and lengths are right.
        stated: The return that somebody states of each episode of the set.
    """
    if stated is not None:
        yield from _returns(episodes, stated)
    yield from _successes(episodes)
    yield from _saturation(demos.action_space, [one.action for one in episodes.values()])
    yield from _repeated(demos, episodes)
    yield from _noise(demos.action_space, episodes)


def _returns(episodes: Numbered, stated: Sequence[float | None]) -> Iterator[Finding]:
    for k, one in episodes.items():
        told = stated[k] if k < len(stated) else None
        if told is not None and not np.isclose(told, one.total, rtol=_ROUNDING, atol=_ROUNDING):
            text = f"add up to {one.total:.6g}, but its return is stated to be {told:.6g}."
            yield Finding("error", "return", text, k, "reward")


def _successes(episodes: Numbered) -> Iterator[Finding]:
    known = [one.success for one in episodes.values() if one.success is not None]
    if known:
        text = f"{sum(known)} of {len(known)} episodes with a known outcome are a success."
        yield Finding("note" if any(known) else "warning", "success", text)


def _saturation(space: gym.Space, actions: Sequence[np.ndarray]) -> Iterator[Finding]:
    action = np.concatenate(actions)
    if isinstance(space, gym.spaces.Box) and space.is_bounded():
        share = float(((action <= space.low) | (action >= space.high)).mean())
        text = f"{share:.0%} of the actions are at their bounds."
        yield Finding("warning" if share > SATURATED else "note", "saturation", text, key="action")
    elif isinstance(space, gym.spaces.Discrete):
        values, counts = np.unique(action, return_counts=True)
        share, most = counts.max() / len(action), values[counts.argmax()]
        if share > ALWAYS and space.n > 1:
            text = f"{share:.1%} of the actions are {most}."
            yield Finding("warning", "saturation", text, key="action")


def _repeated(demos: Demonstrations, episodes: Numbered) -> Iterator[Finding]:
    first: dict[bytes, int] = {}
    for k, one in episodes.items():
        digest = hashlib.sha256(np.ascontiguousarray(one.action).tobytes())
        for part in observed(demos.observation_space, one.observation):
            digest.update(np.ascontiguousarray(part.array).tobytes())
        earlier = first.setdefault(digest.digest(), k)
        if earlier != k:
            yield Finding("warning", "duplicate", f"it repeats episode {earlier}.", k)


def _noise(space: gym.Space, episodes: Numbered) -> Iterator[Finding]:
    """Yield how far what was executed is from what the expert wanted."""
    pairs = [(one.action, one.wanted) for one in episodes.values() if one.clean_action is not None]
    if not pairs:
        return
    executed, wanted = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    other = (executed != wanted).reshape(len(executed), -1).any(axis=1).mean()
    text = f"{other:.0%} of the actions are not what the expert wanted"
    if isinstance(space, gym.spaces.Box):
        away = np.sqrt(np.mean((executed.astype(np.float64) - wanted) ** 2))
        text += f", {away:.3g} apart (root mean square)"
    yield Finding("note", "noise", f"{text}.", key="action")
