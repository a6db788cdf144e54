"""Advantages and returns from rollouts."""

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    *,
    gamma: float,
    lam: float,
) -> Tensor:
    """Generalised advantage estimation (Schulman et al., 2016, eq. 16).

    Args:
        reward: Reward for leaving step t. Shape (T, N).
        value: V of the state left at step t. Shape (T, N).
        next_value: V of the state *reached* by step t, before any reset. Shape (T, N).
        terminated: Step t entered an absorbing state, whose value is 0. Shape (T, N), bool.
        done: Step t ended the episode for any reason, time limits included. Shape (T, N), bool.
        gamma: Discount per step, in [0, 1].
        lam: 0 is one-step TD, 1 is Monte Carlo.

    Returns:
        Advantages, in units of reward. Shape (T, N).
    """
    delta = reward + gamma * next_value * ~terminated - value
    carry = (gamma * lam) * ~done
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(delta.shape[0] - 1, -1, -1):
        running = delta[t] + carry[t] * running
        advantage[t] = running
    return advantage
