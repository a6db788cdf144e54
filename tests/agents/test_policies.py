"""What PPO, A2C and REINFORCE can be asked for, and what their figures say."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from probe_env import Walk
from small_agents import POLICIES, SMALL, build, collected, every_policy, trained

from robolearn.agents import agent_class
from robolearn.agents.ppo import PPO, PPOConfig, adapt_learning_rate, prepare_batch
from robolearn.agents.pqn import PQNConfig
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError

PENDULUM = EnvConfig(id="Pendulum-v1")
SHAPES = [
    {"squash_output": squash, "state_dependent_std": state_dependent_std}
    for squash in (False, True)
    for state_dependent_std in (False, True)
]
every_shape = pytest.mark.parametrize(
    "shape", SHAPES, ids=["normal", "of-the-state", "squashed", "squashed-of-the-state"]
)


# Actions.


@pytest.mark.slow
@every_shape
@every_policy
def test_continuous_actions_are_learned_and_stay_inside_their_bounds(name, shape):
    agent = build(name, PENDULUM, ent_coef=0.01, init_std=2.0, **shape)
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
    assert at_bounds < 0.01 if shape["squash_output"] else at_bounds > 0.3


@every_shape
def test_before_the_first_gradient_step_actions_are_as_likely_as_when_they_were_taken(shape):
    agent = build("ppo", PENDULUM, learning_rate=0.0, n_epochs=1, **shape)
    for report in agent.iterate(512):  # nothing is learned, so that all steps are first ones
        assert abs(report.metrics["train/approx_kl"]) < 1e-6
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


@every_policy
@pytest.mark.parametrize("std", [1e-3, 8.0])
def test_deviations_that_no_policy_can_have_are_refused(name, std):
    # Between e^-5 = 0.0067 and e^2 = 7.39, rounded inwards.
    with pytest.raises(RobolearnError, match=r"init_std must .*, got (0\.001|8\.0)"):
        build(name, PENDULUM, init_std=std)


@every_policy
def test_the_entropy_logged_is_that_before_the_gradient_step_as_the_losses_are(name):
    # Of a normal of deviation 0.5, the same in every state: log(0.5) + log(2 pi e) / 2.
    once = {"n_epochs": 1, "batch_size": 64} if name == "ppo" else {}
    agent = build(name, PENDULUM, init_std=0.5, learning_rate=0.1, n_steps=16, **once)
    report = next(iter(agent.iterate(512)))
    agent.close()
    assert agent.net.head.log_std.item() != pytest.approx(np.log(0.5), abs=0.01)
    expected = np.log(0.5) + 0.5 * np.log(2 * np.pi * np.e)
    assert report.metrics["train/entropy"] == pytest.approx(expected, abs=1e-6)


# The adapted learning rate of PPO.


def rates(desired_kl, steps=512, **changes):
    """Return learning rate and KL of each of 8 updates, and the agent."""
    agent = build(
        "ppo", lr_schedule="adaptive", desired_kl=desired_kl, learning_rate=3e-3, **changes
    )
    reports = list(agent.iterate(steps))
    agent.close()
    metrics = [
        (report.metrics["train/learning_rate"], report.metrics["train/approx_kl"])
        for report in reports
    ]
    return metrics, agent


@pytest.mark.parametrize(
    "changes", [{}, {"n_epochs": 1, "batch_size": 64}], ids=["usual", "one-step"]
)
def test_a_policy_that_changes_too_much_learns_more_slowly(changes):
    # The KL is measured after the last step: also where it is the only one.
    found = [rate for rate, _ in rates(1e-12, **changes)[0]]
    assert found == pytest.approx([3e-3 / 1.5**k for k in range(8)])


def test_a_policy_that_changes_too_little_learns_faster_up_to_a_limit():
    found = [rate for rate, _ in rates(1e3)[0]]
    # 3e-3 * 1.5^3 = 10.1e-3 is held at 1e-2.
    assert found == pytest.approx([3e-3, 4.5e-3, 6.75e-3, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2])


def test_each_learning_rate_follows_from_the_update_before():
    found, agent = rates(2e-3, steps=1024)
    for (rate, kl), (following, _) in pairwise(found):
        assert following == pytest.approx(adapt_learning_rate(rate, kl, 2e-3))
    assert agent.adaptive_lr == pytest.approx(adapt_learning_rate(*found[-1], 2e-3))
    assert len({rate for rate, _ in found}) > 2
    assert any(rate == following for (rate, _), (following, _) in pairwise(found))


def test_a_rollout_of_resets_alone_leaves_the_learning_rate_as_it_is():
    # Of one step in each of 20 rollouts, that after each end of an episode is a reset.
    one = {"num_envs": 1, "n_steps": 1, "batch_size": 1, "n_epochs": 1}
    agent = build(
        "ppo",
        Walk(AutoresetMode.NEXT_STEP, num_envs=1),
        lr_schedule="adaptive",
        desired_kl=0.01,
        **one,
    )
    reports = list(agent.iterate(20))
    agent.close()
    for report, following in pairwise(reports):
        if "train/approx_kl" not in report.metrics:
            assert following.metrics["train/learning_rate"] == report.metrics["train/learning_rate"]
    assert sum("train/approx_kl" not in report.metrics for report in reports) == 3


def test_an_adapted_learning_rate_is_read_back_and_goes_on(tmp_path):
    _, agent = rates(1e-12)
    agent.save(tmp_path / "agent")
    again = PPO.load(tmp_path / "agent")
    assert again.adaptive_lr == agent.adaptive_lr == pytest.approx(3e-3 / 1.5**8)
    first = next(iter(again.iterate(64))).metrics["train/learning_rate"]
    again.close()
    assert first == agent.adaptive_lr


@pytest.mark.parametrize("normalize", [False, True])
def test_values_before_an_update_are_measured_as_their_targets_are(normalize):
    # A critic that says about 50 everywhere, of rewards of 1; both in deviations of the returns,
    # or both as they are, beyond where a normalizer would clip them.
    agent = build("ppo", normalize_obs=normalize, normalize_value=normalize, gamma=0.98)
    with torch.no_grad():
        agent.net.critic[-1].bias.fill_(50.0)
    collector = agent.envs.collector(4, 0)
    rollout = collected(agent, collector, 16)
    with torch.no_grad():
        value = agent.net.value(rollout.latent)
    assert value.min() > 40
    batch = prepare_batch(agent.net, rollout, agent.config)
    agent.close()
    moments = agent.net.values
    shift, scale = moments.mean.item(), moments.variance.item() ** 0.5
    assert (scale != 1.0) is normalize
    expected = ((value - shift) / scale).clamp(-10, 10) if normalize else value
    torch.testing.assert_close(batch.old_value, expected, rtol=1e-4, atol=1e-4)
    assert batch.returns.abs().max() > (1 if normalize else 10)


# Minibatches.


@pytest.mark.parametrize("config", [PPOConfig, PQNConfig])
def test_a_minibatch_larger_than_the_rollout_is_refused(config):
    message = r"at most num_envs \* n_steps = 4 \* 16 = 64, got 65"
    with pytest.raises(RobolearnError, match=message):
        config(num_envs=4, n_steps=16, batch_size=65)
    assert config(num_envs=4, n_steps=16, batch_size=64).batch_size == 64


@pytest.mark.parametrize("name", ["ppo", "pqn"])
def test_without_a_config_the_minibatch_is_held_to_the_rollout(name):
    cls = agent_class(name)
    usual = cls("CartPole-v1").config
    for count in (1, 2, 200):
        config = cls("CartPole-v1", num_envs=count).config
        assert config.num_envs == count
        assert config.batch_size == min(usual.batch_size, count * usual.n_steps)
        assert config.n_steps == usual.n_steps
    ready = cls(Walk(AutoresetMode.SAME_STEP, num_envs=3)).config
    assert (ready.num_envs, ready.batch_size) == (3, min(usual.batch_size, 3 * usual.n_steps))
    with pytest.raises(RobolearnError, match="batch_size must be at most"):
        cls("CartPole-v1", SMALL[name], num_envs=1)  # what the user said is not changed


@every_policy
def test_a_gradient_step_is_taken_for_each_minibatch_or_rollout(name):
    # 256 steps are 4 rollouts of 64. PPO passes twice over the two minibatches of each.
    agent = trained(name, env=EnvConfig(id="Pendulum-v1"), n_steps=16)
    assert (
        agent.parts().optimizer.moments["step"].item()
        == {"ppo": 16, "a2c": 4, "reinforce": 4}[name]
    )
