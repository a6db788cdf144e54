"""Acting on a device, for agents that learn from rollouts."""

import torch
from torch import Tensor

from robolearn.agents.experience import Experience
from robolearn.data.rollout import Rollout
from robolearn.device.collector import DeviceCollector
from robolearn.nn.actor_critic import ActorCritic


@torch.no_grad()
def act_on_device(
    net: ActorCritic,
    collector: DeviceCollector,
    latent: Tensor,
    length: int,
    rng: torch.Generator,
) -> Experience:
    """Act for some steps and return them, without waiting for the device.

    Args:
        net: Acts.
        collector: Of N environments.
        latent: What the net made of the observations before, in the end of the latest. (N, width).
        length: Steps of each environment.
        rng: Draws actions.
    """
    noise = net.head.draw_noise(length, collector.num_envs, generator=rng)
    before = latent.clone()
    starts, latents, actions, steps = [], [], [], []
    for t in range(length):
        start = collector.starts.clone()
        latent_now = net.perceive(collector.obs, latents[-1] if latents else before, start)
        action = net.head.sample(net.policy(latent_now), noise[t])
        steps.append(collector.step(net.head.executed(action)))
        starts.append(start)
        latents.append(latent_now)
        actions.append(action)
    latent.copy_(latents[-1])
    last = net.perceive(collector.obs, latent, collector.starts)
    fields = (torch.stack(each) for each in zip(*steps, strict=True))
    obs, reward, reached, terminated, done, _ = fields
    rollout = Rollout(
        obs=torch.cat([obs, collector.obs[None]]),
        start=torch.stack([*starts, collector.starts]),
        action=torch.stack(actions),
        reward=reward,
        terminated=terminated,
        done=done,
        valid=None,
        final_obs=reached.flatten(0, 1),
    )
    seen = torch.stack([*latents, last])
    going_on = torch.zeros(len(rollout.final_obs), dtype=torch.bool, device=latent.device)
    final = net.perceive(rollout.final_obs, seen[:-1].flatten(0, 1), going_on)
    return Experience(rollout, seen, final, before)
