"""Models that SB3 itself trained and saved act the same as agents of ours."""

import hashlib
import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from torch import nn

import robolearn_envs
from robolearn.accelerate import one_thread
from robolearn.agents.load import load_agent
from robolearn.baselines.sb3_files import read_policy, to_agent
from robolearn.cli import main
from robolearn.config_yaml import read_yaml
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError

SWING_UP = "robolearn/CartPoleSwingUp-v0"
assert SWING_UP in robolearn_envs.ENVS

CASES = {
    "ppo": (sb3.PPO, "CartPole-v1", {"n_steps": 256, "learning_rate": 3e-3}),
    "a2c-wide-bounds": (sb3.A2C, "Pendulum-v1", {"learning_rate": 1e-2}),
    "ppo-unit-bounds": (sb3.PPO, SWING_UP, {"n_steps": 256, "learning_rate": 3e-3}),
    "dqn": (sb3.DQN, "CartPole-v1", {"learning_starts": 50, "target_update_interval": 128}),
}


def saved(folder, algorithm, env_id, *, steps=0, **arguments):
    """Return a model of SB3 and the zip it saved itself in."""
    model = algorithm("MlpPolicy", gym.make(env_id), seed=0, device="cpu", **arguments)
    if steps:
        with one_thread():  # SB3's small networks wait for each other on many
            model.learn(steps)
    with torch.no_grad():
        for parameter in model.policy.parameters():  # biases begin at 0, which would hide them
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save(folder / "model.zip")
    return model, folder / "model.zip"


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def trained(request, tmp_path_factory):
    algorithm, env_id, arguments = request.param
    folder = tmp_path_factory.mktemp("sb3")
    return *saved(folder, algorithm, env_id, steps=512, **arguments), env_id


def imported(path, env_id, activation=None):
    return to_agent(read_policy(path), EnvConfig(id=env_id), activation)


def observations(model, count=1000):
    """Return observations of which many lead to actions beyond the bounds."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (count, *model.observation_space.shape)).astype(np.float32)


def assert_same(agent, model):
    obs = observations(model)
    ours, _ = agent.predict(obs, deterministic=True)
    theirs, _ = model.predict(obs, deterministic=True)
    if isinstance(model.action_space, gym.spaces.Discrete):
        assert len(np.unique(theirs)) > 1
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours.shape == theirs.shape
        assert (np.abs(theirs) < model.action_space.high).any()
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    with torch.no_grad():
        if isinstance(model, sb3.DQN):
            expected = model.q_net(torch.from_numpy(obs)).numpy()
            got = agent.q_values(obs)
        else:
            expected = model.policy.predict_values(torch.from_numpy(obs)).squeeze(1).numpy()
            got = agent.value(obs)
    assert expected.std() > 0.01
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.slow
def test_an_imported_agent_acts_and_values_as_sb3_does(trained):
    model, path, env_id = trained
    assert_same(imported(path, env_id), model)


def test_a_run_made_by_the_command_acts_as_sb3_does(trained, tmp_path, capsys):
    model, path, env_id = trained
    run = tmp_path / "run"
    assert main(["import-sb3", str(path), "--env", env_id, "--run", str(run)]) == 0
    assert "VecNormalize" in capsys.readouterr().out
    assert_same(load_agent(run, device="cpu"), model)
    config = read_yaml(run / "config.yaml")
    assert config["agent"] == ("dqn" if isinstance(model, sb3.DQN) else "ppo")
    assert config["env"]["id"] == env_id
    assert config["source"] == "model.zip"
    assert config["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (run / "meta.json").is_file()
    assert (run / "checkpoints" / "last").read_text() == "000000000\n"


def test_an_imported_run_is_evaluated_and_told_as_json(tmp_path, capsys):
    _, path = saved(tmp_path, sb3.PPO, "CartPole-v1")
    run = str(tmp_path / "run")
    assert main(["import-sb3", str(path), "--env", "CartPole-v1", "--run", run, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["agent"], told["hidden"], told["activation"]) == ("ppo", [64, 64], "tanh")
    assert main(["eval", run, "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2


def test_deviations_are_in_the_range_of_the_actions(tmp_path):
    model, path = saved(tmp_path, sb3.A2C, "Pendulum-v1")
    with torch.no_grad():
        model.policy.log_std.fill_(np.log(0.5))
    model.save(path)
    # Torques lie in [-2, 2]: a deviation of 0.5 is one of 0.25 in [-1, 1].
    agent = imported(path, "Pendulum-v1")
    assert agent.net.head.log_std.exp().tolist() == pytest.approx([0.25])


class Shifted(gym.ActionWrapper):
    """A pendulum whose torque is what is told minus 3, times 0.5."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = gym.spaces.Box(-1.0, 7.0, (1,), np.float32)

    def action(self, action):
        return 0.5 * (action - 3)


def test_bounds_that_are_not_symmetric_are_shifted_too(tmp_path):
    gym.register("Shifted-v0", lambda: Shifted(gym.make("Pendulum-v1")))
    try:
        model, path = saved(tmp_path, sb3.PPO, "Shifted-v0")
        assert_same(imported(path, "Shifted-v0"), model)
    finally:
        del gym.registry["Shifted-v0"]


@pytest.mark.filterwarnings("ignore:.*maximum and minimum values are equal")
@pytest.mark.parametrize("bounds", [(-np.inf, 1.0), (1.0, 1.0)])
def test_bounds_with_no_middle_are_refused(tmp_path, bounds):
    _, path = saved(tmp_path, sb3.PPO, "Pendulum-v1")

    def make():
        env = gym.make("Pendulum-v1")
        env.action_space = gym.spaces.Box(*bounds, (1,), np.float32)
        return env

    gym.register("Odd-v0", make)
    try:
        with pytest.raises(RobolearnError, match="finite bounds on both sides, or none"):
            imported(path, "Odd-v0")
    finally:
        del gym.registry["Odd-v0"]


@pytest.mark.parametrize("widths", [[], [32], [8, 16, 8]], ids=str)
@pytest.mark.parametrize("algorithm", [sb3.PPO, sb3.DQN])
def test_hidden_layers_are_told_from_shapes(tmp_path, algorithm, widths):
    model, path = saved(tmp_path, algorithm, "CartPole-v1", policy_kwargs={"net_arch": widths})
    agent = imported(path, "CartPole-v1")
    assert agent.config.hidden_sizes == tuple(widths)
    assert_same(agent, model)


def test_the_activation_asked_for_is_taken(tmp_path):
    relu = {"activation_fn": nn.ReLU}
    model, path = saved(tmp_path, sb3.PPO, "CartPole-v1", policy_kwargs=relu)
    assert_same(imported(path, "CartPole-v1", "relu"), model)
    with pytest.raises(AssertionError):
        assert_same(imported(path, "CartPole-v1", "tanh"), model)


def test_a_dqn_with_tanh_is_refused(tmp_path):
    _, path = saved(tmp_path, sb3.DQN, "CartPole-v1")
    with pytest.raises(RobolearnError, match="relu in its hidden layers, got tanh"):
        imported(path, "CartPole-v1", "tanh")


UNEVEN = {"net_arch": {"pi": [32], "vf": [32, 32]}}


@pytest.mark.parametrize(
    ("algorithm", "env_id", "arguments", "message"),
    [
        (sb3.PPO, "CartPole-v1", {"policy_kwargs": UNEVEN}, "layers of 4 - 32 - 2 and 4 - 32 - 32"),
        (sb3.PPO, "Pendulum-v1", {"use_sde": True}, "gSDE"),
        (sb3.SAC, "Pendulum-v1", {}, "of SAC, TD3 or DDPG"),
        (sb3.TD3, "Pendulum-v1", {}, "of SAC, TD3 or DDPG"),
        (sb3.PPO, "CartPole-v1", {"policy_kwargs": {"net_arch": [2049]}}, "N at most 2048"),
    ],
    ids=["uneven", "gsde", "sac", "td3", "wide"],
)
def test_policies_without_a_counterpart_are_refused(
    tmp_path, algorithm, env_id, arguments, message
):
    _, path = saved(tmp_path, algorithm, env_id, **arguments)
    with pytest.raises(RobolearnError, match=message):
        read_policy(path)


def test_a_policy_that_looks_at_images_is_refused(tmp_path):
    class Picture(gym.Env):
        observation_space = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)
        action_space = gym.spaces.Discrete(2)

    model = sb3.PPO("CnnPolicy", Picture(), device="cpu")
    model.save(tmp_path / "model.zip")
    with pytest.raises(RobolearnError, match="looks at images or has features of its own"):
        read_policy(tmp_path / "model.zip")


def test_a_small_image_that_sb3_would_divide_by_255_is_refused(tmp_path):
    class Small(gym.Env):
        observation_space = gym.spaces.Box(0, 255, (2, 2, 1), np.uint8)
        action_space = gym.spaces.Discrete(2)

    _, path = saved(tmp_path, sb3.PPO, "CartPole-v1")
    gym.register("Small-v0", Small)
    try:
        with pytest.raises(RobolearnError, match="Small-v0 shows images"):
            imported(path, "Small-v0")
    finally:
        del gym.registry["Small-v0"]


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("Acrobot-v1", "reads 4 numbers, observations of Acrobot-v1 have 6"),
        (SWING_UP, "reads 4 numbers, observations of"),
        ("Nonsense-v0", "Unknown environment 'Nonsense-v0'"),
    ],
)
def test_another_environment_is_refused_before_a_folder_is_made(tmp_path, capsys, env_id, message):
    _, path = saved(tmp_path, sb3.PPO, "CartPole-v1")
    run = tmp_path / "run"
    assert main(["import-sb3", str(path), "--env", env_id, "--run", str(run)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not run.exists()


def test_discrete_and_continuous_actions_are_not_mixed_up(tmp_path):
    _, path = saved(tmp_path, sb3.PPO, "Pendulum-v1")
    other = EnvConfig(id="robolearn/CartPoleBalance-v0", kwargs={"action": "discrete"})
    policy = read_policy(path)
    assert policy.inputs == 3
    with pytest.raises(RobolearnError, match="reads 3 numbers"):
        to_agent(policy, other, None)
    gym.register("Keys-v0", Keys)
    try:
        with pytest.raises(RobolearnError, match="has 1 coordinates of continuous actions"):
            imported(path, "Keys-v0")
    finally:
        del gym.registry["Keys-v0"]


def test_actions_that_do_not_begin_at_0_are_refused(tmp_path):
    _, path = saved(tmp_path, sb3.PPO, "CartPole-v1")

    def make():
        env = gym.make("CartPole-v1")
        env.action_space = gym.spaces.Discrete(2, start=1)
        return env

    gym.register("Late-v0", make)
    try:
        with pytest.raises(RobolearnError, match="SB3 counts actions from 0"):
            imported(path, "Late-v0")
    finally:
        del gym.registry["Late-v0"]


def test_a_layer_nobody_knows_is_refused(tmp_path):
    model, path = saved(tmp_path, sb3.PPO, "CartPole-v1")
    model.policy.extra_net = nn.Linear(2, 2)
    model.save(path)
    with pytest.raises(RobolearnError, match=r"holds 'extra_net\.bias', which has no counterpart"):
        read_policy(path)


class Keys(gym.Env):
    """A pendulum with keys."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,))
    action_space = gym.spaces.Discrete(1)


def test_a_run_that_is_there_already_is_left_alone(tmp_path, capsys):
    _, path = saved(tmp_path, sb3.PPO, "CartPole-v1")
    arguments = ["import-sb3", str(path), "--env", "CartPole-v1", "--run", str(tmp_path)]
    before = path.read_bytes()
    assert main(arguments) == 2
    assert "already holds something" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_reading_a_model_imports_no_sb3_and_warns_of_nothing(trained):
    _, path, _ = trained
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_policy(path)
