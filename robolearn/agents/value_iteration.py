"""Planning in a table: what is best where all probabilities are known."""

import itertools

import numpy as np

from robolearn_envs.first_steps.finite import FiniteMDP


def value_iteration(mdp: FiniteMDP, gamma: float, tolerance: float = 1e-10) -> np.ndarray:
    """Optimal action values by Bellman's backups (Sutton & Barto, 2018, section 4.4).

    If one backup changes the values by delta at most, all later ones together change them by
    delta times the :func:`horizon` at most, which is 1 / (1 - gamma) or less. So the backups end
    once delta <= ``tolerance`` / horizon, or is no more than rounding.

    Args:
        mdp: The process, S states and A actions.
        gamma: Discount per step, in [0, 1]; 1 only where every policy's episodes terminate.
        tolerance: How far the values may be from the optimal ones, in units of reward; more only
            where double precision cannot be as exact.

    Returns:
        Q*, shape (S, A).

    Raises:
        ValueError: gamma or tolerance out of range, or episodes without end and gamma = 1.
    """
    if not tolerance > 0.0:
        raise ValueError(f"tolerance must be positive, got {tolerance}.")
    steps, halving = horizon(mdp, gamma)
    q, earlier = np.zeros(mdp.reward.shape), np.inf
    for backup in itertools.count(1):
        before, q = q, mdp.reward + gamma * (mdp.continues @ q.max(axis=1))
        delta = np.abs(q - before).max()
        if delta <= tolerance / steps:
            break
        if backup % halving == 0:
            if delta > 0.75 * earlier:  # it would have halved: all that changes is rounding
                break
            earlier = delta
    return q


def policy_value(mdp: FiniteMDP, policy: np.ndarray, gamma: float) -> np.ndarray:
    """Values of the states under a policy, from the linear system V = r + gamma P V.

    Args:
        mdp: The process, S states and A actions.
        policy: Probability of each action in each state. Shape (S, A).
        gamma: Discount per step, in [0, 1]; 1 only where the policy's episodes terminate.

    Returns:
        V, in units of reward. Shape (S,).

    Raises:
        ValueError: Not a policy, gamma out of range, or episodes without end and gamma = 1.
    """
    policy = np.asarray(policy, dtype=np.float64)
    if policy.shape != mdp.reward.shape:
        raise ValueError(f"policy must have shape {mdp.reward.shape}, got {policy.shape}.")
    if not ((policy >= 0).all() and np.allclose(policy.sum(axis=1), 1.0)):
        raise ValueError("policy must hold probabilities whose rows sum to 1.")
    reward = (policy * mdp.reward).sum(axis=1)
    continues = np.einsum("sa,sat->st", policy, mdp.continues)
    horizon(FiniteMDP(reward=reward[:, None], continues=continues[:, None]), gamma)  # refuses
    return np.linalg.solve(np.eye(len(reward)) - gamma * continues, reward)


def horizon(mdp: FiniteMDP, gamma: float) -> tuple[float, int]:
    """Bound of the expected discounted number of steps that are still to come, under any policy.

    Let m_k be the largest gamma^k P(the episode goes on after k steps). If m_n < 1 the steps to
    come are at most (m_0 + ... + m_{n-1}) / (1 - m_n): each n of them are m_n times the last n.

    Args:
        mdp: The process.
        gamma: Discount per step, in [0, 1].

    Returns:
        The bound, and an n with m_n <= 1/2: that many backups halve how far any values are from
        the optimal ones, and how much a backup changes them.

    Raises:
        ValueError: gamma out of range, or episodes without end and gamma = 1.
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}.")
    left = np.ones(len(mdp.reward))  # gamma^k P(going on after k steps), from each state
    steps, count = 0.0, 0
    while left.max() > 0.5:  # small enough for a bound that is not far off
        # Who can be caught for ever is caught after as many steps as there are states.
        if gamma == 1.0 and count >= len(left) and left.max() > 1 - 1e-9:
            raise ValueError(
                f"With gamma = 1 every episode must terminate, got state {left.argmax()} where "
                "it can go on for ever. Take gamma below 1."
            )
        steps, count = steps + left.max(), count + 1
        left = gamma * (mdp.continues @ left).max(axis=1)
    return float(steps / (1 - left.max())), count
