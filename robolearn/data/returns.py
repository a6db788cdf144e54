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


def lambda_returns(
    reward: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    *,
    gamma: float,
    lam: float,
) -> Tensor:
    """Returns of Q(lambda), as in PQN (Gallici et al., 2025).

    G_t = r_t + gamma * ((1 - lam) * V_t + lam * G_{t+1}), with V_t the value of what step t
    reached. V_t stands in for G_{t+1} where there is none: at a time limit and at the last step.

    With ``lam`` 1 this is the Monte Carlo return: the discounted rewards to the end of the
    episode and, where it was cut short of that, the discounted value of what was reached.

    Args:
        reward: Reward for leaving step t. Shape (T, N).
        next_value: V, or the largest Q, of the state *reached* by step t, before any reset.
            Shape (T, N).
        terminated: Step t entered an absorbing state, whose value is 0. Shape (T, N), bool.
        done: Step t ended the episode for any reason, time limits included. Shape (T, N), bool.
        gamma: Discount per step, in [0, 1].
        lam: 0 is one-step TD, 1 is Monte Carlo.

    Returns:
        Returns, in units of reward. Shape (T, N).
    """
    discount = torch.full_like(reward, gamma) * ~terminated
    trust = torch.full_like(reward, lam) * ~done
    known = reward + discount * (1 - trust) * next_value
    carry = discount * trust
    result = torch.empty_like(reward)
    running = next_value[-1]
    for t in range(reward.shape[0] - 1, -1, -1):
        running = known[t] + carry[t] * running
        result[t] = running
    return result
