"""The expert begins episodes, for as long as agreed, and hands over to who is good enough."""

import numpy as np
import pytest
import torch

from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.protocols import TrainingUpdate
from robolearn.collect.collector import Collector, Episode
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.experts import expert_for
from robolearn.imitation.experts.lqr import regulate
from robolearn.imitation.jump_start import JumpStart, JumpStartConfig
from robolearn_envs.registry import make_task

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SMALL = DQNConfig(
    num_envs=4, learning_starts=64, batch_size=32, hidden_sizes=(16,), buffer_size=4000
)


class Counting:
    """Does what its memory says: how old the episode is, mod 2; and remembers that."""

    def __init__(self):
        self.asked = 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        self.asked += 1
        age = np.zeros(len(observation), np.int64) if state is None else state + 1
        age[np.asarray(episode_start)] = 0
        return age % 2, age


@pytest.fixture
def collector():
    envs = BALANCE.make_vec(3)
    yield Collector(envs, 0)
    envs.close()


@pytest.mark.parametrize("horizon", [1, 7])
def test_the_expert_leads_exactly_so_many_steps_of_each_episode(collector, horizon):
    guide = JumpStart(Counting(), horizon, 100.0, JumpStartConfig())
    age, led, ended = np.zeros(3, np.int64), 0, 0
    for _ in range(200):
        done = guide.act(collector, np.full(3, 2))  # no action of any expert
        assert done.tolist() == [a % 2 if a < horizon else 2 for a in age]
        led += (age < horizon).sum()
        step = collector.step(np.minimum(done, 1))
        ended += step.done.sum()
        age = np.where(step.done, 0, age + 1)
    assert ended > 20
    assert horizon * ended <= led <= horizon * (ended + 3)


def test_who_leads_no_steps_is_not_asked(collector):
    expert = Counting()
    guide = JumpStart(expert, 0, 100.0, JumpStartConfig())
    actions = np.array([0, 1, 0])
    assert guide.act(collector, actions) is actions
    assert expert.asked == 0


def reports(*totals):
    """Return a report of episodes of these returns."""
    return iter(
        [TrainingUpdate(0, {"loss": 1.0}, [Episode(0, one, 1, None, {}) for one in totals])]
    )


def horizons(guide, *batches):
    """Return how long the expert leads after each report of episodes."""
    found = []
    for totals in batches:
        [report] = guide.follow(reports(*totals))
        assert report.metrics["loss"] == 1.0
        assert len(report.episodes) == len(totals)
        found.append(report.metrics["rollout/guide_horizon"])
        assert guide.horizon == found[-1]
    return found


@pytest.mark.parametrize(("score", "good", "bad"), [(100.0, 90.0, 89.0), (-100.0, -110.0, -111.0)])
def test_it_hands_over_where_twenty_episodes_return_nearly_as_much_as_it_does(score, good, bad):
    # With a tolerance of a tenth 100 becomes 90, and -100 becomes -110.
    guide = JumpStart(Counting(), 10, score, JumpStartConfig(stages=4, tolerance=0.1))
    assert horizons(guide, [good] * 19, [bad], [bad] * 19) == [10.0] * 3
    # A quarter of 10 is 3 in whole steps; episodes are counted anew at each horizon.
    assert horizons(guide, [good] * 20, [good] * 19, [good]) == [7.0, 7.0, 4.0]
    assert horizons(guide, [good] * 40, [good] * 20) == [0.0, 0.0]  # 4, 1 and never below 0


def test_the_latest_twenty_episodes_decide():
    # 19 of 80 and 1 of 100 are not enough; 10 of 80 and 10 of 100 have a mean of 90.
    guide = JumpStart(Counting(), 10, 100.0, JumpStartConfig(stages=10, tolerance=0.1))
    assert horizons(guide, [80.0] * 19 + [100.0], [100.0] * 8, [100.0]) == [10.0, 10.0, 9.0]


def test_reports_without_episodes_change_nothing():
    guide = JumpStart(Counting(), 10, 100.0, JumpStartConfig())
    assert horizons(guide, [], []) == [10.0, 10.0]


def test_a_learner_remembers_what_was_done_in_its_place():
    agent = DQN(BALANCE, SMALL)
    expert = expert_for(agent.collector.envs)
    agent.guide = JumpStart(expert, 500, 500.0, JumpStartConfig())
    agent.learn(400)
    task = make_task("robolearn/CartPoleBalance-v0", {})
    gain = regulate(task, task.robot).gain[[0, 2, 1, 3]]  # of x, x_dot, theta, theta_dot
    led = agent._replay.get(torch.arange(400), 1, 0.9)
    assert led.action.tolist() == (-(led.obs.numpy() @ gain) > 0).astype(int).tolist()
    assert not (led.discount == 0).any()  # the learner, random at first, would have let all fall
    agent.guide = None
    agent.learn(400)
    agent.close()
    own = agent._replay.get(400 + torch.arange(400), 1, 0.9)
    assert own.action.tolist() != (-(own.obs.numpy() @ gain) > 0).astype(int).tolist()
    assert (own.discount == 0).any()


@pytest.mark.parametrize(
    ("name", "number"), [("horizon", -1), ("stages", 0), ("tolerance", 1.5), ("tolerance", -0.1)]
)
def test_senseless_settings_are_refused(name, number):
    with pytest.raises(RobolearnError, match=f"{name} must"):
        JumpStartConfig(**{name: number})
