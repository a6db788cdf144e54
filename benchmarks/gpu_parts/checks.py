"""Correctness on a device: physics are those of the CPU, and graphs compute what eager does."""

from typing import Any

import numpy as np
import torch

from benchmarks.gpu_parts.common import Rows, Setting, found
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig
from robolearn.environments import EnvConfig
from robolearn_envs.torch_vector import TorchVectorEnv

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch")


def physics(setting: Setting) -> Rows:
    """Step the same episodes on the CPU and on the device, in double precision."""
    tasks: dict[str, dict[str, Any]] = {
        "robolearn/CartPoleBalance-v0": {"action": "continuous"},
        "robolearn/CartPoleSwingUp-v0": {"domain_randomization": 0.2},
    }
    for task, options in tasks.items():
        both = [
            TorchVectorEnv(
                task, 64, device=device, dtype=torch.float64, autoreset_mode="SameStep", **options
            )
            for device in ("cpu", setting.device)
        ]
        worst = 0.0
        firsts = [envs.reset(seed=0)[0].cpu() for envs in both]
        rng = np.random.default_rng(0)
        steps = setting.size(300, 20)
        for _ in range(steps):
            worst = max(worst, (firsts[0] - firsts[1]).abs().max().item())
            action = torch.from_numpy(rng.uniform(-1, 1, (64, 1)))
            firsts = [envs.step(action.to(envs.device))[0].cpu() for envs in both]
        yield found(f"{task}: {setting.device} against CPU, {steps} steps", worst, "<= 1e-6")


def graphs(setting: Setting) -> Rows:
    """Let the same agent learn eagerly and by graphs."""
    if not setting.cuda:
        yield found("graph against eager", "not measured: needs CUDA", "<= 1e-5")
        return
    cases: list[tuple[Any, Any, int, int]] = [  # steps in a round; rounds of 20, 16, 8 updates
        (PPO, PPOConfig(num_envs=256, n_steps=32, batch_size=2048), 32 * 256, 10),
        (PQN, PQNConfig(num_envs=256, n_steps=32, batch_size=2048), 32 * 256, 13),
        (DQN, DQNConfig(num_envs=64, prioritized_replay=True, learning_starts=256), 4 * 64, 26),
    ]
    for cls, config, steps, rounds in cases:
        states = []
        for mode in ("off", "graph"):
            agent = cls(BALANCE, config, seed=0, device="cuda", compile=mode)
            agent.learn(steps * rounds)
            states.append(dict(next(iter(agent.parts().modules.values())).state_dict()))
        worst = max(
            (a.double() - b.double()).abs().max().item()
            for a, b in zip(*(s.values() for s in states), strict=True)
            if a.numel()
        )
        yield found(f"{cls.__name__}: graph against eager, 200 updates", worst, "<= 1e-5")
