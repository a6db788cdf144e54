"""The expert is asked where the learner gets to, and acts itself in as many episodes as agreed."""

from dataclasses import replace

import numpy as np
import pytest

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.collect.collector import Collector
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError
from robolearn.evaluation import evaluate
from robolearn.imitation.dagger import DAggerConfig, dagger
from robolearn.imitation.demos.episodes import Shown
from robolearn.imitation.experts import expert_for
from robolearn.imitation.experts.lqr import regulate
from robolearn.imitation.fitting import TRIALS
from robolearn_envs.registry import make_task

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
FORCED = replace(BALANCE, kwargs={"action": "continuous"})
SMALL = PPOConfig(num_envs=4, n_steps=16, batch_size=32, n_epochs=2, hidden_sizes=(16,))
FEW = DAggerConfig(updates=5, try_every=5, try_episodes=2, rounds=1, round_steps=400, round_envs=4)


def agent_for(env=BALANCE, seed=0):
    return PPO(env, SMALL, seed=seed)


class Opponent:
    """Wants the opposite of what an agent does, and remembers how old each episode is."""

    def __init__(self, agent, num_envs):
        self.agent, self.ages = agent, []
        self.asked = 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        self.asked += 1
        age = np.zeros(len(observation), np.int64) if state is None else state + 1
        age[np.asarray(episode_start)] = 0
        self.ages.append(age)
        own, _ = self.agent.predict(observation, deterministic=True)
        return 1 - own, age


def opposed(config, seed=0, shown=None):
    """Return what an opponent said and was done; the agent it opposes is as ours at first."""
    made = []

    def expert(envs):
        made.append(Opponent(agent_for(), envs.num_envs))
        return made[0]

    agent = agent_for()
    choice, found = dagger(agent, expert, config, BALANCE, seed, shown=shown)
    return agent, choice, found, made[0]


@pytest.mark.parametrize(
    ("share", "expected"),
    [(1.0, [1.0, 0.0, 0.0, 0.0]), (0.5, [0.5, 0.25, 0.125, 0.0625]), (0.0, [0.0] * 4)],
)
def test_the_expert_acts_in_ever_fewer_episodes_by_hand(share, expected):
    config = DAggerConfig(expert_share=share)
    assert [config.share(number) for number in range(4)] == expected


def test_labels_are_the_regulators_in_the_very_situation():
    _, found = dagger(agent_for(), expert_for, replace(FEW, expert_share=0.5), BALANCE, 0)
    task = make_task("robolearn/CartPoleBalance-v0", {})
    gain = regulate(task, task.robot).gain  # of x, theta, x_dot, theta_dot
    state = found.obs[:, [0, 2, 1, 3]]  # observed are x, x_dot, theta, theta_dot
    assert found.wanted.tolist() == (-(state @ gain) > 0).astype(int).tolist()
    assert 0.1 < (found.wanted != found.action).mean() < 0.9


def test_continuous_labels_are_the_regulators_too():
    agent = agent_for(FORCED)
    _, found = dagger(agent, expert_for, replace(FEW, expert_share=0.0), FORCED, 0)
    task = make_task("robolearn/CartPoleBalance-v0", {})
    gain = regulate(task, task.robot).gain
    expected = np.clip(-found.obs[:, [0, 2, 1, 3]] @ gain, -1, 1)[:, None]
    assert found.wanted.shape == found.action.shape == expected.shape
    np.testing.assert_allclose(found.wanted, expected, rtol=0, atol=1e-5)
    assert np.abs(found.wanted - found.action).max() > 0.1


@pytest.mark.parametrize(("share", "led"), [(1.0, True), (0.0, False)])
def test_the_expert_leads_all_episodes_of_a_round_or_none(share, led):
    _, _, found, _ = opposed(replace(FEW, expert_share=share))
    assert len(found.obs) == 400
    assert ((found.action == found.wanted) == led).all()
    # Whoever leads: what was wanted is what the agent, as it was, would not do.
    own, _ = agent_for().predict(found.obs, deterministic=True)
    assert (found.wanted == 1 - own).all()


def test_the_expert_leads_whole_episodes_in_the_share_agreed_on():
    _, _, found, _ = opposed(replace(FEW, round_steps=4000, expert_share=0.3))
    # Steps lie row by row of 4 environments.
    led = (found.action == found.wanted).reshape(-1, 4)
    done = found.done.reshape(-1, 4)
    leaders = []
    for i in range(4):
        ends = np.flatnonzero(done[:, i]) + 1
        for episode in np.split(led[:, i], ends)[:-1]:
            assert episode.all() or not episode.any()
            leaders.append(bool(episode[0]))
    count = len(leaders)
    assert count > 100
    assert abs(np.mean(leaders) - 0.3) < 4 * np.sqrt(0.21 / count)  # deviations of a coin


def test_the_expert_is_asked_with_its_memory_which_forgets_at_each_start():
    _, _, found, expert = opposed(replace(FEW, expert_share=0.0))
    ages, done = np.array(expert.ages), found.done.reshape(-1, 4)
    assert ages.shape == (100, 4)
    for i in range(4):
        age = 0
        for t in range(100):
            assert ages[t, i] == age
            age = 0 if done[t, i] else age + 1
    assert found.done.sum() > 10


def test_the_experts_memory_lasts_from_round_to_round():
    _, _, found, expert = opposed(replace(FEW, rounds=3, round_steps=20, expert_share=1.0))
    ages, done = np.array(expert.ages), found.done.reshape(-1, 4)
    for t in range(1, len(ages)):
        assert ages[t].tolist() == np.where(done[t - 1], 0, ages[t - 1] + 1).tolist()
    assert ages[5:].max() > 5


def test_what_was_learned_from_is_all_that_was_shown_and_asked():
    before = Shown(
        obs=np.full((7, 4), 9.0, np.float32),
        action=np.zeros(7, np.int64),
        wanted=np.ones(7, np.int64),
        reward=np.ones(7, np.float32),
        next_obs=np.full((7, 4), 9.0, np.float32),
        terminated=np.zeros(7, np.bool_),
        done=np.ones(7, np.bool_),
    )
    agent, choice, found, expert = opposed(replace(FEW, rounds=3, round_steps=10), shown=before)
    # 10 steps in whole rows of 4 environments are 12, in each of 3 rounds.
    assert len(found.obs) == 7 + 3 * 12
    assert expert.asked == 9
    assert (found.obs[:7] == 9).all()
    assert (found.obs[7:] != 9).all()
    assert found.done[:7].all()
    assert [made for made, _ in choice.curve] == [5, 10, 15]
    # The moments of a round's clone are of all there was: 7 + 12, then 12 and again 12 more.
    assert agent.net.encoder.observations.count.item() in (19, 19 + 31, 19 + 31 + 43)


@pytest.mark.slow
def test_an_expert_asked_again_is_followed_and_the_best_round_kept():
    agent = PPO(BALANCE, replace(SMALL, hidden_sizes=(32, 32)))
    config = replace(
        FEW, updates=150, try_every=150, clone_rate=1e-2, try_episodes=5, rounds=4, round_envs=8
    )
    choice, found = dagger(agent, expert_for, config, BALANCE, 0)
    assert choice.score == max(score for _, score in choice.curve) > 300
    assert dict(choice.curve)[choice.update] == choice.score
    assert len(choice.curve) == 4
    assert evaluate(agent, BALANCE, episodes=5, seed=TRIALS).mean == choice.score
    assert len(found.obs) == 1600
    assert agent.parts().optimizer.moments["step"] == 0


def test_the_same_seed_asks_the_same_and_another_seed_else():
    one, same, other = (
        opposed(replace(FEW, expert_share=0.5, round_steps=80), seed)[2] for seed in (0, 0, 1)
    )
    assert all(map(np.array_equal, one, same))
    assert not np.array_equal(one.obs, other.obs)


def test_steps_lost_to_a_simulation_teach_nothing(monkeypatch):
    real, lost = Collector.step, []

    def losing(collector, actions):
        step = real(collector, actions)
        if collector.num_envs == 4:
            step.valid[1] = len(lost) % 2 == 0
            lost.append(not step.valid[1])
        return step

    monkeypatch.setattr(Collector, "step", losing)
    _, _, found, _ = opposed(FEW)
    assert len(found.obs) == len(found.wanted) == len(found.action) == 400 - sum(lost) == 350


def test_an_expert_who_fails_leaves_no_environments_behind():
    class Lost:
        def predict(self, *asked, **more):
            raise DivergedError("lost")

    with pytest.raises(DivergedError, match="lost"):
        dagger(agent_for(), lambda envs: Lost(), FEW, BALANCE, 0)


@pytest.mark.parametrize(
    ("name", "number"),
    [("rounds", 0), ("round_steps", 0), ("round_envs", 0), ("expert_share", 1.5), ("updates", 0)],
)
def test_senseless_settings_are_refused(name, number):
    with pytest.raises(RobolearnError, match=f"{name} must"):
        DAggerConfig(**{name: number})
