"""What policy gradients compute of rollouts: functions of networks, settings and tensors.

They look at no number, so that they can be captured in a CUDA graph, and can be mapped over the
stacked networks of several agents. Only ``normalised`` changes anything: a running normaliser.
"""

from torch import Tensor

from robolearn.agents.policy_config import PolicyConfig
from robolearn.data.returns import gae
from robolearn.data.rollout import Rollout
from robolearn.nn.actor_critic import ActorCritic


def policy_gradient_loss(log_prob: Tensor, advantage: Tensor, share: Tensor) -> Tensor:
    """Minus the objective whose gradient is the policy gradient (Williams, 1992, theorem 1).

    Args:
        log_prob: Of the actions taken, with gradients. Any shape.
        advantage: Of them, without. Same shape.
        share: Of each in the mean; 0 where nothing was done. Same shape.
    """
    return -(log_prob * advantage * share).sum()


def mean(each: Tensor, share: Tensor | None) -> Tensor:
    """Return a mean, weighed by ``share`` where that is given. Shape ()."""
    return each.mean() if share is None else (each * share).sum()


def with_entropy(
    net: ActorCritic,
    config: PolicyConfig,
    policy_loss: Tensor,
    output: Tensor,
    share: Tensor | None = None,
) -> Tensor:
    """Return the loss of a policy with the entropy bonus. Shape ().

    Args:
        net: Whose policy it is.
        config: Holds the bonus' weight.
        policy_loss: Of the algorithm. Shape ().
        output: Of the policy, with gradients. Shape (..., width).
        share: Of each in the mean, None for equal ones. Shape (...).
    """
    if not config.entropy:
        return policy_loss
    return policy_loss - config.entropy * mean(net.head.entropy(output), share)


def estimate(
    config: PolicyConfig, rollout: Rollout, value: Tensor, final_value: Tensor, *, lam: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and what values should have been, in units of reward. Shapes (T, N).

    Args:
        config: Holds the discount.
        rollout: T steps of N environments, K of which ended an episode.
        value: Of its observations, in units of reward. Shape (T + 1, N).
        final_value: Of its final observations. Shape (K,).
        lam: Weight of longer returns in the advantage; 1 for whole ones.
    """
    reached = rollout.next_value(value, final_value)
    ends = (rollout.terminated, rollout.done)
    advantage = gae(rollout.reward, value[:-1], reached, *ends, gamma=config.gamma, lam=lam)
    return advantage, advantage + value[:-1]


def normalised(
    net: ActorCritic, config: PolicyConfig, rollout: Rollout, advantage: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return advantages, whitened if asked, and targets, which the normaliser learns from first.

    Args:
        net: Holds the normaliser of values.
        config: Says what is asked.
        rollout: Says which steps count.
        advantage: In units of reward. Shape (T, N).
        target: Of the values, in units of reward. Shape (T, N).

    Returns:
        Shapes (T, N).
    """
    if config.normalise:
        net.values.update(rollout.counted(target)[:, None])
        target = net.values(target[..., None]).squeeze(-1)
    if config.whiten:
        known = rollout.counted(advantage)
        advantage = (advantage - known.mean()) / (known.std(correction=0) + 1e-8)
    return advantage, target
