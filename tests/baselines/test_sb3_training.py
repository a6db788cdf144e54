"""Training with SB3: frozen rows, our hyper-parameters said in its terms, refusals."""

import tempfile
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import DummyVecEnv

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.baselines.rows import ALGORITHMS, SB3_TABLE, Linear, SB3Row, matched, row_for
from robolearn.baselines.sb3 import train_sb3
from robolearn.baselines.sb3_view import SB3VecEnv
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
    """Return how often an optimizer has been stepped."""
    return {int(state["step"]) for state in optimizer.state.values()}


def test_every_cart_pole_has_a_frozen_row_for_ppo_and_dqn():
    cart_poles = [env_id for env_id in ENVS if "CartPole" in env_id]
    assert len(cart_poles) == 3
    for env_id in [*cart_poles, "CartPole-v1"]:
        assert "zoo" in SB3_TABLE["ppo", env_id].source
        assert "zoo" in SB3_TABLE["dqn", env_id].source


def test_navigation_which_the_zoo_does_not_know_gets_sb3s_defaults():
    for env_id in ENVS:
        if "Nav" in env_id:
            assert row_for("ppo", env_id).source == "SB3's defaults, 8 environments"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gymnasiums_discrete_classics_have_a_frozen_row_for_every_algorithm(algorithm):
    for env_id in ("CartPole-v1", "Acrobot-v1", "LunarLander-v3"):
        # LunarLander-v3 is the zoo's v2: the version is not compared.
        assert SB3_TABLE[algorithm, env_id].source.startswith(
            f"rl-baselines3-zoo, {algorithm} {env_id.split('-')[0]}-v"
        )


def test_the_pendulums_have_a_frozen_row_of_mujoco_for_the_algorithms_that_push_continuously():
    for name in ("InvertedPendulum", "InvertedDoublePendulum"):
        assert SB3_TABLE["ppo", f"{name}-v5"].source == f"rl-baselines3-zoo, ppo {name}-v2"
        assert "its MuJoCo defaults" in SB3_TABLE["a2c", f"{name}-v5"].source
        assert ("dqn", f"{name}-v5") not in SB3_TABLE


def test_a_row_that_normalizes_must_say_by_which_discount():
    with pytest.raises(ValueError, match=r"must name gamma, .* got \['n_steps'\]"):
        SB3Row(source="a test", num_envs=1, normalize=True, arguments={"n_steps": 8})


def test_other_envs_get_sb3s_defaults_and_say_so():
    assert row_for("a2c", "FrozenLake-v1").source == "SB3's defaults, 8 environments"
    assert row_for("ppo", "FrozenLake-v1").source == "SB3's defaults, 8 environments"
    assert row_for("dqn", "FrozenLake-v1").num_envs == 1


# One rollout of 1000 steps in 2500: SB3 asks with 0.6, 0.2 and -0.2 to go.
@pytest.mark.parametrize(("left", "expected"), [(1.0, 5.0), (0.6, 3.8), (0.2, 2.6), (-0.2, 2.0)])
def test_a_linear_schedule_falls_to_its_end_and_stays(left, expected):
    assert Linear(5.0, 2.0)(left) == pytest.approx(expected)


def where(algorithm, env_id):
    """Return the environment of a row, or one of the same kind that needs no more packages."""
    if env_id == "LunarLander-v3":  # needs Box2D, which robolearn does without
        return EnvConfig(id="Acrobot-v1")
    discrete = env_id in ENVS and algorithm == "dqn"
    return EnvConfig(id=env_id, kwargs={"action": "discrete"} if discrete else {})


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "env_id"), SB3_TABLE)
def test_every_row_trains(algorithm, env_id):
    row = SB3_TABLE[algorithm, env_id]
    agent = train_sb3(algorithm, where(algorithm, env_id), 64, seed=0, hyper=row)
    assert type(agent.model).__name__ == algorithm.upper()
    assert agent.model.n_envs == row.num_envs
    assert (agent.model.get_vec_normalize_env() is not None) is row.normalize
    assert agent.steps >= 64
    assert all(parameter.isfinite().all() for parameter in agent.model.policy.parameters())
    for name, value in row.arguments.items():
        if name == "policy_kwargs":
            assert value.items() <= agent.model.policy_kwargs.items()
        elif name == "n_steps":
            assert agent.model.n_steps == min(value, 64 // row.num_envs)
        elif name == "train_freq":
            assert agent.model.train_freq.frequency == value
        elif name == "clip_range":
            assert agent.model.clip_range(0.5) == (value(0.5) if callable(value) else value)
        else:
            assert getattr(agent.model, name) == value


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_single_step_in_a_single_environment_can_be_learned_from(algorithm):
    row = SB3Row(source="a test", num_envs=1, arguments={"n_steps": 5, "gamma": 0.9})
    assert train_sb3(algorithm, BALANCE, 1, seed=0, hyper=row).steps <= 4


def test_the_a2c_row_reaches_sb3():
    agent = train_sb3("a2c", EnvConfig(id="Acrobot-v1"), 160, seed=0)
    model = agent.model
    assert isinstance(model, A2C)
    # The row says 16 environments, normalized, and no entropy; the rest is A2C's own: Monte Carlo
    # advantages of 5 steps, and RMSprop.
    assert (model.n_envs, model.n_steps, model.ent_coef) == (16, 5, 0.0)
    assert (model.gamma, model.gae_lambda, model.vf_coef) == (0.99, 1.0, 0.5)
    assert not model.normalize_advantage
    assert model.get_vec_normalize_env().gamma == 0.99
    assert isinstance(model.policy.optimizer, torch.optim.RMSprop)
    # 160 steps are 2 rollouts of 16 * 5, a gradient step each.
    assert agent.steps == 160
    assert gradient_steps(model.policy.optimizer) == {2}


def test_the_learning_rate_of_the_a2c_row_falls_linearly():
    row = SB3_TABLE["a2c", "LunarLander-v3"]
    model = train_sb3("a2c", EnvConfig(id="CartPole-v1"), 80, seed=0, hyper=row).model
    assert (model.n_envs, model.n_steps, model.gamma, model.ent_coef) == (8, 5, 0.995, 1e-5)
    assert model.lr_schedule(0.5) == pytest.approx(4.15e-4)
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize("env", [BALANCE, SWING_UP], ids=["discrete", "continuous"])
def test_a2c_serves_discrete_and_continuous_actions(env):
    agent = train_sb3("a2c", env, 80, seed=0)
    assert agent.steps == 80
    assert evaluate(agent, env, episodes=2).returns.shape == (2,)


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


@pytest.mark.slow
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


def test_the_agent_normalizes_what_it_sees_with_frozen_statistics():
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


@pytest.mark.parametrize("algorithm", ["a2c", "ppo"])
def test_same_seed_same_agent(algorithm):
    first, again = (train_sb3(algorithm, BALANCE, 512, seed=4).model.policy for _ in range(2))
    other = train_sb3(algorithm, BALANCE, 512, seed=5).model.policy
    for one, two, three in zip(
        first.parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert one.equal(two)
        assert one.numel() < 5 or not one.equal(three)


def test_training_is_silent_and_leaves_no_folder(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    train_sb3("ppo", BALANCE, 256, seed=0)
    train_sb3("dqn", BALANCE, 64, seed=0)
    train_sb3("a2c", BALANCE, 80, seed=0)
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
    config = PPOConfig(num_envs=4, n_steps=32, batch_size=48, n_epochs=3, hidden_sizes=(16, 8))
    ours = PPO(env, config, seed=0, device="cpu").learn(512)
    theirs = train_sb3("ppo", env, 512, seed=0, hyper=matched(config))
    ours.close()
    # 512 steps are 4 rollouts of 128, each 3 epochs of 48 + 48 + 32 steps: 4 * 3 * 3 = 36.
    assert ours.optimizer.moments["step"] == 36
    assert gradient_steps(theirs.model.policy.optimizer) == {36}
    assert ours.steps == theirs.steps == 512


def test_matched_says_our_hyper_parameters_in_sb3s_terms():
    config = PPOConfig(
        num_envs=2,
        n_steps=16,
        batch_size=8,
        n_epochs=2,
        gamma=0.9,
        gae_lambda=0.8,
        clip_range=0.3,
        learning_rate=4e-3,
        ent_coef=0.01,
        max_grad_norm=0.7,
        hidden_sizes=(6, 7),
        init_std=0.5,
        normalize_obs=False,
        normalize_value=False,
        normalize_advantage=False,
    )
    model = train_sb3("ppo", SWING_UP, 32, seed=0, hyper=matched(config)).model
    assert (model.n_envs, model.n_steps, model.batch_size, model.n_epochs) == (2, 16, 8, 2)
    assert (model.gamma, model.gae_lambda, model.clip_range(1.0)) == (0.9, 0.8, 0.3)
    assert (model.ent_coef, model.max_grad_norm) == (0.01, 0.7)
    assert not model.normalize_advantage
    assert model.lr_schedule(0.5) == pytest.approx(2e-3)
    assert model.get_vec_normalize_env() is None
    extractor = model.policy.mlp_extractor
    for net in (extractor.policy_net, extractor.value_net):
        assert [tuple(layer.weight.shape) for layer in net[::2]] == [(6, 5), (7, 6)]
    fresh = train_sb3(
        "ppo", SWING_UP, 32, seed=0, hyper=matched(PPOConfig(init_std=0.5, learning_rate=0.0))
    )
    assert fresh.model.policy.log_std.exp().item() == pytest.approx(0.5)


def test_rewards_are_normalized_with_the_rows_discount():
    row = matched(PPOConfig(num_envs=2, batch_size=64, gamma=0.7))
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


def test_time_is_split_and_being_watched_is_not_training():
    watched = []

    def watch(agent):
        watched.append((agent.steps, agent.wall_s))
        time.sleep(0.2)
        return True

    began = time.perf_counter()
    agent = train_sb3("a2c", BALANCE, 80, 0, watch=watch)
    whole = time.perf_counter() - began
    # Rollouts of 8 environments and 5 steps: looked at before the first, and before the second.
    assert [steps for steps, _ in watched] == [0, 40]
    assert agent.wall_s < whole - 0.4
    split = agent.time_split()
    assert split.keys() == {"env", "update"}
    assert split["env"] > 0
    assert split["update"] > 0
    assert sum(split.values()) < agent.wall_s


@pytest.mark.parametrize("batch", [True, False])
def test_either_kind_of_environments_is_learned_from(batch):
    agent = train_sb3("ppo", BALANCE, 64, 0, batch=batch)
    inner = agent.model.get_env()
    assert inner.num_envs == 8
    assert isinstance(inner.venv, SB3VecEnv if batch else DummyVecEnv)
    assert agent.steps == 64


def test_single_environments_learn_as_the_batch_does():
    # Environment i of a batch is bitwise the single one with its seed.
    both = [train_sb3("a2c", BALANCE, 400, 0, batch=batch) for batch in (True, False)]
    weights = [agent.model.policy.state_dict() for agent in both]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
