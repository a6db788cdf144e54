"""What PPO, A2C and REINFORCE can be asked for, and what their figures say."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from probe_env import Walk
from small_agents import POLICIES, SMALL, build, every_policy, trained

from robolearn.agents import agent_class
from robolearn.agents.ppo import PPO, PPOConfig, adapted
from robolearn.agents.pqn import PQNConfig
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError

PENDULUM = EnvConfig(id="Pendulum-v1")
SHAPES = [
    {"squash": squash, "state_std": state_std}
    for squash in (False, True)
    for state_std in (False, True)
]
every_shape = pytest.mark.parametrize(
    "shape", SHAPES, ids=["normal", "of-the-state", "squashed", "squashed-of-the-state"]
)


# Actions.


@pytest.mark.slow
@every_shape
@every_policy
def test_continuous_actions_are_learned_and_stay_inside_their_bounds(name, shape):
    agent = build(name, PENDULUM, entropy=0.01, initial_std=2.0, **shape)
    before = [parameter.clone() for parameter in agent.net.parameters()]
    agent.learn(1024)
    agent.close()
    pairs = zip(before, agent.net.parameters(), strict=True)
    assert all(not torch.equal(old, new) and new.isfinite().all() for old, new in pairs)
    obs = np.random.default_rng(0).uniform(-8, 8, (2000, 3)).astype(np.float32)
    for deterministic in (False, True):
        actions = agent.predict(obs, deterministic=deterministic)[0]
        assert actions.shape == (2000, 1)
        assert np.abs(actions).max() <= 2.0
    drawn = agent.predict(obs)[0]
    assert np.abs(drawn).max() > 1.9  # and reach up to them
    at_bounds = (np.abs(drawn) == 2.0).mean()
    assert at_bounds < 0.01 if shape["squash"] else at_bounds > 0.3


@every_shape
def test_before_the_first_gradient_step_actions_are_as_likely_as_when_they_were_taken(shape):
    agent = build("ppo", PENDULUM, learning_rate=0.0, epochs=1, **shape)
    for report in agent.iterate(512):  # nothing is learned, so that all steps are first ones
        assert abs(report.metrics["approximate_kl"]) < 1e-6
    agent.close()


@pytest.mark.parametrize("name", POLICIES)
def test_only_a_learned_baseline_is_learned(name):
    # REINFORCE without a baseline leaves its critic alone; all others learn it.
    for baseline in (True, False) if name == "reinforce" else (True,):
        options = {"baseline": baseline} if name == "reinforce" else {}
        agent = build(name, **options)
        before = [parameter.clone() for parameter in agent.net.critic.parameters()]
        agent.learn(128)
        agent.close()
        pairs = zip(before, agent.net.critic.parameters(), strict=True)
        same = [torch.equal(old, new) for old, new in pairs]
        assert not any(same) if baseline else all(same)


# The adapted learning rate of PPO.


def rates(target_kl, steps=512, **changes):
    """Return learning rate and KL of each of 8 updates, and the agent."""
    agent = build("ppo", target_kl=target_kl, learning_rate=3e-3, **changes)
    reports = list(agent.iterate(steps))
    agent.close()
    metrics = [
        (report.metrics["learning_rate"], report.metrics["approximate_kl"]) for report in reports
    ]
    return metrics, agent


def test_a_policy_that_changes_too_much_learns_more_slowly():
    found = [rate for rate, _ in rates(1e-12)[0]]
    assert found == pytest.approx([3e-3 / 1.5**k for k in range(8)])


def test_a_policy_that_changes_too_little_learns_faster_up_to_a_limit():
    found = [rate for rate, _ in rates(1e3)[0]]
    # 3e-3 * 1.5^3 = 10.1e-3 is held at 1e-2.
    assert found == pytest.approx([3e-3, 4.5e-3, 6.75e-3, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2])


def test_each_learning_rate_follows_from_the_update_before():
    found, agent = rates(2e-3, steps=1024)
    for (rate, kl), (following, _) in pairwise(found):
        assert following == pytest.approx(adapted(rate, kl, 2e-3))
    assert agent.rate == pytest.approx(adapted(*found[-1], 2e-3))
    assert len({rate for rate, _ in found}) > 2
    assert any(rate == following for (rate, _), (following, _) in pairwise(found))


def test_an_adapted_learning_rate_is_read_back_and_goes_on(tmp_path):
    _, agent = rates(1e-12)
    agent.save(tmp_path / "agent")
    again = PPO.load(tmp_path / "agent")
    assert again.rate == agent.rate == pytest.approx(3e-3 / 1.5**8)
    first = next(iter(again.iterate(64))).metrics["learning_rate"]
    again.close()
    assert first == agent.rate


@pytest.mark.parametrize("normalise", [False, True])
def test_values_before_an_update_are_measured_as_their_targets_are(normalise):
    # A critic that says about 50 everywhere, of rewards of 1; both in deviations of the returns,
    # or both as they are, beyond where a normaliser would clip them.
    agent = build("ppo", normalise=normalise, gamma=0.98)
    with torch.no_grad():
        agent.net.critic[-1].bias.fill_(50.0)
    collector = agent.envs.collector(4, 0)
    experience = agent._collect(collector, 16)
    with torch.no_grad():
        value = agent.net.value(experience.latent[:-1])
    assert value.min() > 40
    lesson = agent._lesson(experience)
    agent.close()
    moments = agent.net.values
    shift, scale = moments.mean.item(), moments.variance.item() ** 0.5
    assert (scale != 1.0) is normalise
    expected = ((value - shift) / scale).clamp(-10, 10) if normalise else value
    torch.testing.assert_close(lesson.value, expected, rtol=1e-4, atol=1e-4)
    assert lesson.target.abs().max() > (1 if normalise else 10)


# Minibatches.


@pytest.mark.parametrize("config", [PPOConfig, PQNConfig])
def test_a_minibatch_larger_than_the_rollout_is_refused(config):
    message = r"at most num_envs \* rollout_steps = 4 \* 16 = 64, got 65"
    with pytest.raises(RobolearnError, match=message):
        config(num_envs=4, rollout_steps=16, minibatch=65)
    assert config(num_envs=4, rollout_steps=16, minibatch=64).minibatch == 64


@pytest.mark.parametrize("name", ["ppo", "pqn"])
def test_without_a_config_the_minibatch_is_held_to_the_rollout(name):
    cls = agent_class(name)
    usual = cls("CartPole-v1").config
    for count in (1, 2, 200):
        config = cls("CartPole-v1", num_envs=count).config
        assert config.num_envs == count
        assert config.minibatch == min(usual.minibatch, count * usual.rollout_steps)
        assert config.rollout_steps == usual.rollout_steps
    ready = cls(Walk(AutoresetMode.SAME_STEP, num_envs=3)).config
    assert (ready.num_envs, ready.minibatch) == (3, min(usual.minibatch, 3 * usual.rollout_steps))
    with pytest.raises(RobolearnError, match="minibatch must be at most"):
        cls("CartPole-v1", SMALL[name], num_envs=1)  # what the user said is not changed


@every_policy
def test_a_gradient_step_is_taken_for_each_minibatch_or_rollout(name):
    # 256 steps are 4 rollouts of 64. PPO passes twice over the two minibatches of each.
    agent = trained(name, env=EnvConfig(id="Pendulum-v1"), rollout_steps=16)
    [state] = agent._descent.adam.state.values()
    assert state["step"].item() == {"ppo": 16, "a2c": 4, "reinforce": 4}[name]
