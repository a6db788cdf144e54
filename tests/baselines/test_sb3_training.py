"""Training with SB3: frozen rows, our hyper-parameters said in its terms, refusals."""

import tempfile

import gymnasium as gym
import numpy as np
import pytest
import torch

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.baselines.rows import SB3_TABLE, Linear, SB3Row, matched, row_for
from robolearn.baselines.sb3 import SB3VecEnv, train_sb3
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn_envs import ENVS

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
DISCRETE_SWING_UP = EnvConfig(
    id="robolearn/CartPoleSwingUp-v0", engine="analytic", kwargs={"action": "discrete"}
)


class Hollow(gym.Env):
    """An environment with given spaces and no episodes to speak of."""

    def __init__(self, action_space, observation_space):
        self.action_space, self.observation_space = action_space, observation_space


@pytest.fixture
def hollow():
    """Register environments with given spaces for a test."""

    def make(action_space, observation_space=None):
        observation_space = observation_space or gym.spaces.Box(0.0, 1.0, (2,))
        arguments = {"action_space": action_space, "observation_space": observation_space}
        gym.register("Hollow-v0", Hollow, kwargs=arguments, disable_env_checker=True)
        return EnvConfig(id="Hollow-v0")

    yield make
    gym.registry.pop("Hollow-v0", None)


def gradient_steps(optimizer):
    """Return how often Adam has been stepped."""
    return {int(state["step"]) for state in optimizer.state.values()}


def test_every_cart_pole_has_a_frozen_row_for_both_algorithms():
    cart_poles = [env_id for env_id in ENVS if "CartPole" in env_id]
    assert len(cart_poles) == 3
    for env_id in [*cart_poles, "CartPole-v1"]:
        assert "zoo" in SB3_TABLE["ppo", env_id].source
        assert "zoo" in SB3_TABLE["dqn", env_id].source


def test_navigation_which_the_zoo_does_not_know_gets_sb3s_defaults():
    for env_id in ENVS:
        if "Nav" in env_id:
            assert row_for("ppo", env_id).source == "SB3's defaults, 8 environments"


def test_other_envs_get_sb3s_defaults_and_say_so():
    assert row_for("ppo", "Acrobot-v1").source == "SB3's defaults, 8 environments"
    assert row_for("dqn", "Acrobot-v1").num_envs == 1


# One rollout of 1000 steps in 2500: SB3 asks with 0.6, 0.2 and -0.2 to go.
@pytest.mark.parametrize(("left", "expected"), [(1.0, 5.0), (0.6, 3.8), (0.2, 2.6), (-0.2, 2.0)])
def test_a_linear_schedule_falls_to_its_end_and_stays(left, expected):
    assert Linear(5.0, 2.0)(left) == pytest.approx(expected)


def test_the_cartpole_row_reaches_sb3():
    model = train_sb3("ppo", BALANCE, 512, seed=0).model
    assert (model.n_steps, model.batch_size, model.n_epochs) == (32, 256, 20)
    assert (model.gamma, model.gae_lambda, model.n_envs) == (0.98, 0.8, 8)
    # 512 steps are 2 rollouts of 8 * 32, each 20 epochs of a single minibatch.
    assert gradient_steps(model.policy.optimizer) == {40}
    # Both schedules are at their end: the last update is asked for with nothing to go.
    assert model.lr_schedule(0.25) == pytest.approx(0.25e-3)
    assert model.clip_range(0.25) == pytest.approx(0.05)
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.0


def test_the_dqn_row_reaches_sb3():
    agent = train_sb3("dqn", DISCRETE_SWING_UP, 1500, seed=0)
    # Learning starts after 1000 steps; rollouts end at 256, 512, ... 1024, 1280, 1536: three of
    # them, 128 gradient steps each, train.
    assert agent.steps == 1536
    assert gradient_steps(agent.model.policy.optimizer) == {3 * 128}
    widths = [layer.out_features for layer in agent.model.q_net.q_net if hasattr(layer, "weight")]
    assert widths == [256, 256, 5]
    assert agent.model.exploration_rate == pytest.approx(0.04)


def test_a_rollout_is_never_longer_than_all_of_learning():
    # The row's rollouts are 8 * 2048 steps; 100 steps in 8 environments are 13 each, 104 in all,
    # fewer than the 2 minibatches of 64 they still fill in part.
    agent = train_sb3("ppo", SWING_UP, 100, seed=0)
    assert agent.steps == 104
    assert gradient_steps(agent.model.policy.optimizer) == {10 * 2}


def test_the_agent_normalises_what_it_sees_with_frozen_statistics():
    agent = train_sb3("ppo", SWING_UP, 400, seed=0)
    statistics = agent.model.get_vec_normalize_env().obs_rms
    count, mean = statistics.count, statistics.mean.copy()
    # Given by hand: (obs - mean) / sqrt(var + 1e-8), then the bare policy.
    obs = np.array([0.3, -1.0, 0.0, 0.5, 2.0], dtype=np.float32)
    seen = (obs - statistics.mean) / np.sqrt(statistics.var + 1e-8)
    expected, _ = agent.model.predict(seen.astype(np.float32), deterministic=True)
    action, state = agent.predict(obs, deterministic=True)
    np.testing.assert_allclose(action, expected, rtol=1e-5)
    assert action.shape == (1,)
    assert state is None
    evaluate(agent, SWING_UP, episodes=2)
    assert statistics.count == count
    np.testing.assert_array_equal(statistics.mean, mean)


def test_an_sb3_agent_is_evaluated_like_ours():
    agent = train_sb3("ppo", BALANCE, 256, seed=0)
    assert evaluate(agent, BALANCE, episodes=3).returns.shape == (3,)
    assert agent.wall_s > 0.0


def test_same_seed_same_agent():
    first, again = (train_sb3("ppo", BALANCE, 512, seed=4).model.policy for _ in range(2))
    other = train_sb3("ppo", BALANCE, 512, seed=5).model.policy
    for one, two, three in zip(
        first.parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert one.equal(two)
        assert one.numel() < 5 or not one.equal(three)


def test_training_is_silent_and_leaves_no_folder(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    train_sb3("ppo", BALANCE, 256, seed=0)
    train_sb3("dqn", BALANCE, 64, seed=0)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_training_uses_one_thread_and_puts_the_others_back(monkeypatch):
    seen = set()

    def step_wait(self, step=SB3VecEnv.step_wait):
        seen.add(torch.get_num_threads())
        return step(self)

    monkeypatch.setattr(SB3VecEnv, "step_wait", step_wait)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    train_sb3("dqn", BALANCE, 10, seed=0)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert (seen, after) == ({1}, 3)


@pytest.mark.parametrize(
    ("env_id", "observation_kind"),
    [("FrozenLake-v1", gym.spaces.Discrete), ("CartPole-v1", gym.spaces.Box)],
)
def test_foreign_envs_are_learned_in(env_id, observation_kind):
    agent = train_sb3("dqn", EnvConfig(id=env_id), 50, seed=0)
    assert isinstance(agent.model.observation_space, observation_kind)
    assert agent.steps >= 50


@pytest.mark.parametrize("env", [BALANCE, SWING_UP], ids=["discrete", "continuous"])
def test_matched_takes_as_many_updates_as_our_ppo(env):
    config = PPOConfig(num_envs=4, rollout_steps=32, minibatch=48, epochs=3, hidden=(16, 8))
    ours = PPO(env, config, seed=0, device="cpu").learn(512)
    theirs = train_sb3("ppo", env, 512, seed=0, hyper=matched(config))
    ours.close()
    # 512 steps are 4 rollouts of 128, each 3 epochs of 48 + 48 + 32 steps: 4 * 3 * 3 = 36.
    assert gradient_steps(ours._optimizer) == gradient_steps(theirs.model.policy.optimizer) == {36}
    assert ours.steps == theirs.steps == 512


def test_matched_says_our_hyper_parameters_in_sb3s_terms():
    config = PPOConfig(
        num_envs=2,
        rollout_steps=16,
        minibatch=8,
        epochs=2,
        gamma=0.9,
        gae_lambda=0.8,
        clip=0.3,
        learning_rate=4e-3,
        final_learning_rate=2e-3,
        entropy=0.01,
        max_grad_norm=0.7,
        hidden=(6, 7),
        initial_std=0.5,
        normalise=False,
    )
    model = train_sb3("ppo", SWING_UP, 32, seed=0, hyper=matched(config)).model
    assert (model.n_envs, model.n_steps, model.batch_size, model.n_epochs) == (2, 16, 8, 2)
    assert (model.gamma, model.gae_lambda, model.clip_range(1.0)) == (0.9, 0.8, 0.3)
    assert (model.ent_coef, model.max_grad_norm) == (0.01, 0.7)
    assert model.lr_schedule(0.5) == pytest.approx(3e-3)
    assert model.get_vec_normalize_env() is None
    extractor = model.policy.mlp_extractor
    for net in (extractor.policy_net, extractor.value_net):
        assert [tuple(layer.weight.shape) for layer in net[::2]] == [(6, 5), (7, 6)]
    fresh = train_sb3(
        "ppo", SWING_UP, 32, seed=0, hyper=matched(PPOConfig(initial_std=0.5, learning_rate=0.0))
    )
    assert fresh.model.policy.log_std.exp().item() == pytest.approx(0.5)


def test_rewards_are_normalised_with_the_rows_discount():
    row = matched(PPOConfig(num_envs=2, gamma=0.7))
    model = train_sb3("ppo", SWING_UP, 20, seed=0, hyper=row).model
    assert model.get_vec_normalize_env().gamma == 0.7


def test_an_override_is_used_instead_of_the_row():
    row = SB3Row(source="a test", num_envs=3, arguments={"n_steps": 8, "batch_size": 12})
    model = train_sb3("ppo", BALANCE, 48, seed=0, hyper=row).model
    assert (model.n_envs, model.n_steps) == (3, 8)


def test_dqn_on_continuous_actions_is_refused_with_the_way_out():
    with pytest.raises(RobolearnError, match=r"needs discrete actions, got Box.*--action discrete"):
        train_sb3("dqn", SWING_UP, 100, seed=0)


def test_dqn_on_continuous_foreign_actions_is_refused():
    with pytest.raises(RobolearnError, match="another environment or sb3-ppo"):
        train_sb3("dqn", EnvConfig(id="Pendulum-v1"), 100, seed=0)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (gym.spaces.Discrete(3, start=1), "counts actions from 0"),
        (gym.spaces.Box(-np.inf, np.inf, (1,)), "finite bounds"),
        (gym.spaces.Text(3), "cannot take actions of kind Text"),
    ],
    ids=["from one", "unbounded", "text"],
)
def test_actions_sb3_cannot_take_are_refused(hollow, action, words):
    with pytest.raises(RobolearnError, match=words):
        train_sb3("ppo", hollow(action), 100, seed=0)


@pytest.mark.parametrize("nested", [gym.spaces.Tuple, lambda parts: gym.spaces.Dict(a=parts[0])])
def test_nested_observations_are_refused(hollow, nested):
    inner = gym.spaces.Dict(b=gym.spaces.Discrete(2))
    with pytest.raises(RobolearnError, match="cannot take observations of kind"):
        train_sb3("ppo", hollow(gym.spaces.Discrete(2), nested((inner,))), 100, seed=0)


def test_no_steps_are_refused():
    with pytest.raises(RobolearnError, match="steps must be at least 1, got 0"):
        train_sb3("ppo", BALANCE, 0, seed=0)


def test_an_unknown_device_is_refused():
    with pytest.raises(RobolearnError, match="device must be"):
        train_sb3("ppo", BALANCE, 10, seed=0, device="gpu")
