"""Any environment is found by its name, and a name nobody knows gets a helpful answer."""

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode

from robolearn.environments import HELD_OUT, EnvConfig, TrainingEnvs, first_seed
from robolearn.errors import RobolearnError

BALANCE = "robolearn/CartPoleBalance-v0"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("robolearn/CartPoleBalence-v0", BALANCE), ("CartPol-v1", "CartPole-v1")],
)
def test_an_unknown_id_gets_the_nearest_one(wrong, right):
    with pytest.raises(RobolearnError, match=f"Unknown environment '{wrong}'.*'{right}'"):
        EnvConfig(id=wrong)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "robolearn/Bandit-v0"])
def test_an_engine_for_an_environment_without_engines_is_refused(env_id):
    with pytest.raises(RobolearnError, match=f"'{env_id}' has no engines .*'mujoco'"):
        EnvConfig(id=env_id, engine="mujoco")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EnvConfig(id=BALANCE, engine="mujocco"), "'mujoco'"),
        (EnvConfig(id="robolearn/CartPoleDMC-v0", engine="bullet"), "mujoco"),
        (EnvConfig(id=BALANCE, kwargs={"randomize": 2.0}), "randomize"),
        (EnvConfig(id=BALANCE, kwargs={"gravity": 3}), "gravity"),
        (EnvConfig(id="CartPole-v1", kwargs={"gravity": 3}), "gravity"),
    ],
)
def test_what_an_environment_refuses_is_our_error(config, message):
    with pytest.raises(RobolearnError, match=message):
        config.make()
    with pytest.raises(RobolearnError, match=message):
        config.make_vec(2)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("env_id", [BALANCE, "CartPole-v1"])
def test_batches_come_in_every_mode(env_id, mode):
    envs = EnvConfig(id=env_id).make_vec(3, mode)
    assert envs.num_envs == 3
    assert envs.metadata["autoreset_mode"] is mode
    envs.close()


@pytest.fixture
def trained_on_ours():
    config = EnvConfig(id=BALANCE, engine="analytic", kwargs={"randomize": 0.1})
    return TrainingEnvs.of(config, None, {})


def test_without_changes_an_agent_acts_where_it_was_trained(trained_on_ours):
    assert trained_on_ours.elsewhere(None, None, {}) == trained_on_ours.config


def test_engine_and_arguments_can_be_changed(trained_on_ours):
    there = trained_on_ours.elsewhere(None, "mujoco", {"randomize": 0.3})
    assert there == EnvConfig(id=BALANCE, engine="mujoco", kwargs={"randomize": 0.3})


def test_spaces_that_do_not_fit_are_refused(trained_on_ours):
    with pytest.raises(RobolearnError, match=r"does not fit .*observation_space"):
        trained_on_ours.elsewhere("CartPole-v1", None, {})
    with pytest.raises(RobolearnError, match=r"does not fit .*action_space"):
        trained_on_ours.elsewhere(None, None, {"action": "continuous"})


def test_elsewhere_an_agent_keeps_what_the_other_environment_has_a_use_for():
    kwargs = {"level": 1, "curriculum": True, "randomize": 0.1}
    ours = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs=kwargs)
    agent = TrainingEnvs.of(ours, None, {})
    there = agent.elsewhere("robolearn/NavRover-v0", None, {})
    # A rover does not run in closed form; agents are judged without a curriculum, on test layouts.
    kept = {"level": 1, "randomize": 0.1, "split": "test"}
    assert there == EnvConfig(id="robolearn/NavRover-v0", kwargs=kept)
    there = agent.elsewhere("robolearn/NavRover-v0", "bullet", {"level": 3})
    assert (there.engine, there.kwargs["level"]) == ("bullet", 3)
    # A cart-pole has no level, and that is not what is wrong with it.
    for other in (BALANCE, "CartPole-v1"):
        with pytest.raises(RobolearnError, match=r"does not fit .*observation_space"):
            agent.elsewhere(other, None, {})


def test_nothing_to_go_by_is_refused():
    envs = gym.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync")
    own = TrainingEnvs.of(envs, None, {})
    with pytest.raises(RobolearnError, match="--env ID"):
        own.elsewhere(None, None, {})
    assert own.elsewhere("CartPole-v1", None, {}) == EnvConfig(id="CartPole-v1")
    own.close()


def test_a_description_is_read_back(trained_on_ours):
    again = TrainingEnvs.from_json(trained_on_ours.to_json())
    assert again.config == trained_on_ours.config
    assert again.observation_space == trained_on_ours.observation_space
    assert again.action_space == trained_on_ours.action_space


def test_a_robot_that_was_changed_is_not_carried_over_to_another_task():
    own = EnvConfig(
        id="robolearn/NavLidar-v0",
        engine="analytic",
        kwargs={"level": 1, "robot": {"max_speed": 0.5}},
    )
    there = TrainingEnvs.of(own, None, {}).elsewhere("robolearn/NavRover-v0", None, {})
    assert there.kwargs == {"level": 1, "split": "test"}


@pytest.mark.parametrize("sizes", [(1, 10_000), (10_001, 16_384), (10_000, 2**20)])
def test_agents_of_different_seeds_share_no_environments_seed(sizes):
    spans = []
    for seed in (0, 1, 2, 99_999):
        for num_envs in sizes:
            first = first_seed(seed, num_envs)
            spans.append((first, first + num_envs, seed))
    spans.append((HELD_OUT, HELD_OUT + 1_000_000, None))  # of evaluations
    for low, high, seed in spans:
        assert 0 <= low < high < 2**62
        others = [span for span in spans if span[2] != seed]
        assert all(high <= begin or end <= low for begin, end, _ in others)


def test_environments_of_10_001_start_as_no_environment_of_the_next_seed_does():
    # The 10,001st environment of seed 0 had the seed of the first one of seed 1.
    env = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch")
    envs = TrainingEnvs.of(env, None, {})
    large = envs.collector(10_001, 0)
    other = TrainingEnvs(env, envs.observation_space, envs.action_space).collector(4, 1)
    assert not (large.obs[:, None] == other.obs).all(dim=-1).any()


def test_more_environments_than_there_are_seeds_are_refused():
    with pytest.raises(RobolearnError, match="num_envs must be at most 1048576, got 1048577"):
        first_seed(0, 2**20 + 1)
    with pytest.raises(RobolearnError, match=r"seed must lie in 0\.\.99999, got 100000"):
        first_seed(100_000, 1)
