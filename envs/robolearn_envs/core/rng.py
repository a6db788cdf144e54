"""Counter-based random streams: what env i draws does not depend on who else is in the batch.

Each environment has a 64-bit key and counts its episodes; the draws of an episode are a pure
function of (key, episode). So env i of a vector equals the single env with the same key, with
no Python object per environment and no state to save but the counters.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from robolearn_envs.arrays import Array, namespace

Seed: TypeAlias = int | Sequence[int | None] | np.ndarray | None
"""What ``reset(seed=...)`` takes: a number of any size, one for each environment, or None."""

_MASK = 0xFFFFFFFF  # 32 bits
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[Array, Array]) -> list[Array]:
    """Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3").

    Args:
        counter: Four words below 2^32, broadcast against each other. int64.
        key: Two words below 2^32. int64.

    Returns:
        Four words of random bits below 2^32, as int64 (the array API has no portable uint32
        multiplication to 64 bits; a wrapped signed product has the same bits).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def uniform(keys: Array, episodes: Array, draws: int, steps: Array | int = 0) -> Array:
    """Return the first ``draws`` uniform numbers of each environment's episode, or of a step in it.

    Args:
        keys: One 64-bit key per environment. Shape (N,), int64.
        episodes: Episode count of each environment, below 2^32. Shape (N,), int64.
        draws: How many numbers each environment draws.
        steps: Steps made in the episode, shape (N,), int64; 0 is the episode's beginning.

    Returns:
        Numbers in (0, 1), never 0 or 1. Shape (N, draws), float64.
    """
    xp = namespace(keys)
    blocks = xp.arange((draws + 3) // 4, dtype=xp.int64, device=keys.device)[None, :]
    zero = xp.zeros_like(blocks)
    key = (keys[:, None] & _MASK, (keys[:, None] >> 32) & _MASK)
    third = zero if isinstance(steps, int) else zero + steps[:, None]
    words = philox((blocks, episodes[:, None], third, zero), key)
    bits = xp.reshape(
        xp.stack([w + xp.zeros_like(words[0]) for w in words], axis=-1), (keys.shape[0], -1)
    )
    return (xp.astype(bits[:, :draws], xp.float64) + 0.5) * 2.0**-32


def seed_keys(
    seed: int | Iterable[int | None], num_envs: int, draw: Callable[[], int]
) -> np.ndarray:
    """Return the key of each environment's random stream. Shape (N,), int64.

    Args:
        seed: Env i is seeded ``seed + i``, or ``seed[i]``. Below 2^63 a seed is its own key; larger
            ones are hashed by ``numpy.random.SeedSequence``.
        num_envs: N.
        draw: Returns the seed of an environment for which ``seed`` lists None.

    Raises:
        ValueError: Not a non-negative integer, or not one for each environment.
    """
    if isinstance(seed, Iterable):
        seeds = [draw() if one is None else _checked_seed(one) for one in seed]
        if len(seeds) != num_envs:
            raise ValueError(f"seed must list {num_envs} seeds, got {len(seeds)}.")
    else:
        first = _checked_seed(seed)
        if first + num_envs <= 2**63:
            return first + np.arange(num_envs)
        seeds = [first + i for i in range(num_envs)]
    return np.array([_key(one) for one in seeds], dtype=np.int64)


def _checked_seed(seed: object) -> int:
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0 or isinstance(seed, bool | np.bool_):
        raise ValueError(f"A seed must be an integer of at least 0, got {seed!r}.")
    return number


def _key(seed: int) -> int:
    if seed < 2**63:
        return seed
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)
