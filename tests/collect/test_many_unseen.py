"""Many agents act and learn without the host looking at a tensor."""

import pytest
from unseen import unseen

from robolearn.agents.multi_seed import MultiSeedPPO
from robolearn.agents.ppo import PPOConfig
from robolearn.environments import EnvConfig

CONFIG = PPOConfig(
    num_envs=4, n_steps=8, batch_size=12, n_epochs=2, hidden_sizes=(8,), ent_coef=0.01
)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["CartPoleBalance-v0", "CartPoleSwingUp-v0", "NavLidar-v0"])
def test_an_iteration_of_many_agents_looks_at_nothing(task, short_episodes):
    env = EnvConfig(id=f"robolearn/{task}", engine="torch")
    many = MultiSeedPPO(env, CONFIG, range(3), device="cpu")
    graphed, rounds = many._graphed, []

    def guarded(length, counted):
        with unseen():
            metrics = graphed(length, counted)
        rounds.append((length, counted))
        return metrics

    many._graphed = guarded
    reports = list(many.iterate(4 * 4 * 8))
    assert rounds == [(8, False), *[(8, True)] * 3]
    assert all(report.metrics["train/policy_gradient_loss"] for each in reports for report in each)
    assert (
        sum(report.metrics.get("rollout/num_episodes", 0) for each in reports for report in each)
        > 0
    )
