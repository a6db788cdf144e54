"""Many seeds at once, against one."""

from typing import Any

from benchmarks.gpu_parts.common import Rows, Setting, found
from robolearn.agents.multi_seed import MultiSeedPPO
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.collect.cuda_graph import NUM_WARMUP
from robolearn.environments import EnvConfig

SEEDS = 16


def seeds(setting: Setting) -> Rows:
    """Time an iteration of one agent and of sixteen side by side, in turn."""
    env = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch")
    config = PPOConfig(
        num_envs=setting.size(256, 16),
        n_steps=setting.size(32, 8),
        batch_size=setting.size(2_048, 64),
    )
    size, device = config.rollout_size, str(setting.device)
    trained: dict[int, Any] = {
        1: PPO(env, config, device=device),
        SEEDS: MultiSeedPPO(env, config, range(SEEDS), device=device),
    }
    for agents in trained.values():
        for _ in agents.iterate((NUM_WARMUP + 2) * size):
            pass
    taken: dict[int, list[float]] = {count: [] for count in trained}
    for _ in range(setting.size(10, 2)):
        for count, agents in trained.items():
            taken[count].append(
                setting.seconds(lambda agents=agents: list(agents.iterate(size)), repeats=3)
            )
    one, many = (sorted(times)[len(times) // 2] for times in taken.values())
    yield found(f"{SEEDS} seeds over one", f"{many / one:.2f} times", "<= 2 times")
