"""Many agents act and learn without the host looking at a tensor."""

import pytest
from unseen import unseen

from robolearn.agents.many import ManyPPO
from robolearn.agents.ppo import PPOConfig
from robolearn.environments import EnvConfig

CONFIG = PPOConfig(num_envs=4, rollout_steps=8, minibatch=12, epochs=2, hidden=(8,), entropy=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["CartPoleBalance-v0", "CartPoleSwingUp-v0", "NavLidar-v0"])
def test_an_iteration_of_many_agents_looks_at_nothing(task, short_episodes):
    env = EnvConfig(id=f"robolearn/{task}", engine="torch")
    many = ManyPPO(env, CONFIG, range(3), device="cpu")
    graphed, rounds = many._graphed, []

    def guarded(length):
        with unseen():
            figures = graphed(length)
        rounds.append(length)
        return figures

    many._graphed = guarded
    reports = list(many.iterate(4 * 4 * 8))
    assert rounds == [8] * 4
    assert all(report.metrics["policy_loss"] for each in reports for report in each)
    assert sum(report.metrics.get("episodes", 0) for each in reports for report in each) > 0
