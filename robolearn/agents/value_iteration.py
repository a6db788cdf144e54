"""Planning in a table: what is best where all probabilities are known."""

import itertools

import numpy as np

from robolearn_envs.toy.finite import FiniteMDP


def value_iteration(mdp: FiniteMDP, gamma: float, tolerance: float = 1e-10) -> np.ndarray:
    """Return the optimal action values Q*, shape (S, A) (Sutton & Barto, 2018, section 4.4).

    If a backup changes the values by at most delta, all later ones together change them by at most
    delta * :func:`horizon`. So backups end once delta <= ``tolerance`` / horizon, or delta is
    rounding.

    Args:
        mdp: The process, S states and A actions.
        gamma: Discount per step, in [0, 1]; 1 only where every policy's episodes terminate.
        tolerance: Largest error of the values, in units of reward, as far as double precision goes.

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
    """Return V of a policy, in units of reward, shape (S,): the solution of V = r + gamma P V.

    Args:
        mdp: The process, S states and A actions.
        policy: Probability of each action in each state. Shape (S, A).
        gamma: Discount per step, in [0, 1]; 1 only where the policy's episodes terminate.

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
    """Bound the expected discounted number of steps until an episode ends, under any policy.

    Let m_k be the largest gamma^k P(the episode goes on after k steps). If m_n < 1 the steps are
    at most (m_0 + ... + m_{n-1}) / (1 - m_n): each n of them are m_n times the last n.

    Returns:
        The bound, and an n with m_n <= 1/2: n backups halve the error of any values, and how much
        a backup changes them.

    Raises:
        ValueError: gamma out of range, or episodes without end and gamma = 1.
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}.")
    left = np.ones(len(mdp.reward))  # gamma^k P(going on after k steps), from each state
    steps, count = 0.0, 0
    while left.max() > 0.5:  # small enough for a bound that is not far off
        # A policy whose episodes never end shows so after as many steps as there are states.
        if gamma == 1.0 and count >= len(left) and left.max() > 1 - 1e-9:
            raise ValueError(
                f"With gamma = 1 every episode must terminate, got state {left.argmax()} where "
                "it can go on for ever. Take gamma below 1."
            )
        steps, count = steps + left.max(), count + 1
        left = gamma * (mdp.continues @ left).max(axis=1)
    return float(steps / (1 - left.max())), count
