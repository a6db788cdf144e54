"""NaN and infinity, wherever they come from, stop learning before they spoil it."""

import math
import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from often import often
from small_runs import BALANCE, SWINGUP

from robolearn.cli import main
from robolearn.collect.collector import Collector
from robolearn.dumps import read_dump
from robolearn.environments import HELD_OUT, EnvConfig
from robolearn.errors import DivergedError, RobolearnWarning
from robolearn.networks.flat_adam import FlatAdam
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.train import TrainConfig, train
from robolearn_envs.engines.mujoco import MujocoEngine

NETWORK = {"hidden_sizes": (8,), "num_envs": 3}
HYPER = {
    "dqn": {**NETWORK, "buffer_size": 200, "learning_starts": 30, "prioritized_replay": True},
    "pqn": {**NETWORK, "n_steps": 8, "batch_size": 24},
    "ppo": {**NETWORK, "n_steps": 8, "batch_size": 24},
    "a2c": {**NETWORK, "n_steps": 8},
    "reinforce": {**NETWORK, "n_steps": 8},
    "q-learning": {"num_envs": 3},
    "sarsa": {"num_envs": 3},
}
TABULAR = ("q-learning", "sarsa")
DEEP = [name for name in HYPER if name not in TABULAR]
NUMBERS = [math.nan, math.inf, -math.inf][: often(1, 3)]
PLACES = ["reward", "observation", "final observation", "reset observation"]

number = pytest.mark.parametrize("number", NUMBERS)
each_network = pytest.mark.parametrize("agent", DEEP)


class Breaking(gym.Env):
    """Episodes of five steps; one number, once, is not finite."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,))
    left = 0  # steps of all environments until it breaks
    place, number = "", 0.0
    held_out = False  # evaluates only

    def __init__(self, kind="discrete", tabular=False):
        box = gym.spaces.Box(-1.0, 1.0, (2,))
        self.action_space = box if kind == "box" else gym.spaces.Discrete(2)
        if tabular:
            self.observation_space = gym.spaces.Discrete(4)

    def _observe(self):
        if isinstance(self.observation_space, gym.spaces.Discrete):
            return int(self.np_random.integers(4))
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def _spoiled(self, place, value):
        if self.held_out or place != Breaking.place:
            return value
        if Breaking.left <= 0 and not Breaking.done:
            Breaking.done = True
            return value * 0 + Breaking.number
        return value

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.held_out |= (seed or 0) >= HELD_OUT
        self.steps = 0
        return self._spoiled("reset observation", self._observe()), {}

    def step(self, action):
        Breaking.left -= 1
        self.steps += 1
        over = self.steps == 5
        place = "final observation" if over else "observation"
        observation = self._spoiled(place, self._observe())
        return observation, float(self._spoiled("reward", 1.0)), False, over, {}


@pytest.fixture
def broken():
    """Say when and where environments of id tests/Breaking-v0 are to break."""
    if "tests/Breaking-v0" not in gym.registry:
        gym.register("tests/Breaking-v0", Breaking, disable_env_checker=True)

    def broken(place, number, left=200):
        Breaking.place, Breaking.number, Breaking.left, Breaking.done = place, number, left, False

    broken("", 0.0)
    return broken


def breaking(agent, run, **kwargs):
    env = EnvConfig(id="tests/Breaking-v0", kwargs={"tabular": agent in TABULAR, **kwargs})
    return asked(agent, env, run)


def asked(agent, env, run):
    return TrainConfig(
        agent=agent,
        env=env,
        steps=600,
        run=run,
        hyper=HYPER[agent],
        save_every=50,
        eval_episodes=1,
        test_episodes=1,
    )


def assert_stops_with_sound_weights(config, words):
    with pytest.raises(DivergedError, match=words) as caught:
        train(config)
    assert caught.value.exit_code == 4
    stored = sorted((config.run / "checkpoints").glob("[0-9]*"))
    assert stored  # 200 steps were made before, and saved every 50
    for checkpoint in stored:
        for name, group in read_checkpoint(checkpoint)[1].items():
            assert all(tensor.isfinite().all() for tensor in group.values()), name


@pytest.mark.slow
@number
@pytest.mark.parametrize("place", PLACES)
@each_network
def test_what_an_environment_gives_stops_learning(agent, place, number, broken, tmp_path):
    broken(place, number)
    config = breaking(agent, tmp_path / "run")
    named = "observation" if place == "reset observation" else place
    assert_stops_with_sound_weights(config, f"The {named} of environment . is -?(nan|inf)")
    (dump,) = (tmp_path / "run" / "dumps").iterdir()
    told = read_dump(dump)
    assert told.env == config.env
    assert 1 <= len(told.steps["reward"]) <= 5
    if place in ("observation", "reward"):
        last = told.steps["seen.next_obs" if place == "observation" else "reward"][-1]
        assert not np.isfinite(last).any()


@number
@pytest.mark.parametrize("agent", TABULAR)
def test_a_reward_stops_learning_in_a_table(agent, number, broken, tmp_path):
    broken("reward", number)
    assert_stops_with_sound_weights(breaking(agent, tmp_path / "run"), "The reward of environment")


@pytest.mark.slow
@number
@pytest.mark.parametrize("place", PLACES[:3])
@pytest.mark.parametrize("agent", HYPER)
def test_asked_to_reset_learning_goes_on_without_that_step(agent, place, number, broken, tmp_path):
    place = "reward" if agent in TABULAR else place
    broken(place, number)
    config = breaking(agent, tmp_path / "run")
    config = replace(config, env=replace(config.env, on_divergence="truncate"))
    with pytest.warns(RobolearnWarning, match="not finite: reset, and left out") as told:
        result = train(config)
    assert len(told) == 1
    assert result.steps >= 600
    last = read_checkpoint(result.run.pointed("last"))
    assert last[0]["learning"]["collector"]["num_dropped"] == 1
    assert all(t.isfinite().all() for group in last[1].values() for t in group.values())


@number
@pytest.mark.parametrize("agent", ["ppo", "a2c", "reinforce"])
def test_an_action_stops_learning(agent, number, broken, tmp_path, monkeypatch):
    real = Collector.step

    def step(collector, actions):
        if Breaking.left <= 0 and len(actions) == 3:  # of evaluations there are fewer
            actions = actions.copy()
            actions[1, 0] = number
        return real(collector, actions)

    broken("", number)
    monkeypatch.setattr(Collector, "step", step)
    config = breaking(agent, tmp_path / "run", kind="box")
    assert_stops_with_sound_weights(config, "The action of environment 1 is -?(nan|inf)")


@pytest.mark.slow
@number
@pytest.mark.parametrize("what", ["loss", "gradient"])
@each_network
def test_a_loss_or_a_gradient_stops_learning(agent, what, number, broken, tmp_path, monkeypatch):
    real = FlatAdam.step

    def step(descent, loss, **how):
        if Breaking.left <= 0:
            parameters = descent.vector
            if what == "loss":
                loss = loss * number
            else:  # its value is 0, its slope infinite; twice it, of either sign, is none
                root = (parameters[0] - parameters[0].detach()).sqrt()
                loss = loss + (root - root if math.isnan(number) else np.sign(number) * root)
        return real(descent, loss, **how)

    broken("", 0.0)
    monkeypatch.setattr(FlatAdam, "step", step)
    config = breaking(agent, tmp_path / "run")
    assert_stops_with_sound_weights(config, f"The {what}.* is -?(nan|inf)")


@pytest.mark.slow
@pytest.mark.parametrize("warning", ["BADQPOS", "BADQVEL", "BADQACC"])
@each_network
def test_an_engine_that_breaks_down_stops_learning(agent, warning, tmp_path, monkeypatch):
    spoil(monkeypatch, warning)
    env = EnvConfig(id=BALANCE, engine="mujoco")
    assert_stops_with_sound_weights(asked(agent, env, tmp_path / "run"), "state of env 1 is no")
    (dump,) = (tmp_path / "run" / "dumps").iterdir()
    assert np.isfinite(read_dump(dump).steps["seen.qpos"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])
def test_asked_to_reset_an_engine_goes_on_with_the_others(engine, tmp_path, monkeypatch):
    spoil(monkeypatch, "force", engine)
    env = EnvConfig(id=SWINGUP, engine=engine, on_divergence="truncate")
    with pytest.warns(RuntimeWarning, match="env 1 is no longer finite: its episode was truncated"):
        result = train(asked("ppo", env, tmp_path / "run"))
    lost = read_checkpoint(result.run.pointed("last"))[0]["learning"]["collector"]["num_dropped"]
    assert lost == 1


def spoil(monkeypatch, what, engine="mujoco"):
    """Break copy 1 of the training's environments after 200 of their physics steps, once."""
    from robolearn_envs.engines import analytic, bullet

    classes = {
        "mujoco": MujocoEngine,
        "bullet": bullet.BulletEngine,
        "analytic": analytic.AnalyticEngine,
    }
    cls = classes[engine]
    real, made = cls.step, 0

    def step(self, force):
        nonlocal made
        if len(self.qpos) == 3:  # those of evaluations are fewer
            made += 1
            if made == 200:
                force = force.copy()
                if what == "BADQPOS":
                    self._qpos[1, 0] = np.nan
                elif what == "BADQVEL":
                    self._qvel[1, 0] = np.inf
                else:  # finite, but MuJoCo calls the acceleration bad
                    force[1, 0] = 1e30 if what == "BADQACC" else np.nan
        return real(self, force)

    monkeypatch.setattr(cls, "step", step)


def test_a_dump_can_be_filmed_and_says_where(tmp_path, monkeypatch, capsys):
    spoil(monkeypatch, "BADQVEL")
    run, film = tmp_path / "run", tmp_path / "film.mp4"
    arguments = ["--env", BALANCE, "--engine", "mujoco", "--steps", "600", "--run", str(run)]
    small = ["--num-envs", "3", "--n-steps", "8", "--batch-size", "24"]
    assert main(["train", "ppo", *arguments, *small]) == 4
    told = capsys.readouterr().err
    (dump,) = (run / "dumps").iterdir()
    assert told.count("\n") == 1
    assert f"robolearn record --from-dump {dump} --out" in told
    # In a process of its own, since OpenGL keeps 80 MB.
    record = [sys.executable, "-m", "robolearn", "record", "--from-dump", dump, "--out", film]
    subprocess.run(record, check=True)
    assert film.stat().st_size > 1000


def test_a_dump_of_a_foreign_environment_is_lived_through_again(tmp_path, monkeypatch, capsys):
    real, made = Collector.step, 0

    def step(collector, actions):
        nonlocal made
        made += len(actions) == 3
        if made == 40:
            actions = actions.astype(np.float32) * np.nan
        return real(collector, actions)

    monkeypatch.setattr(Collector, "step", step)
    run, film = tmp_path / "run", tmp_path / "film.mp4"
    arguments = ["--env", "Pendulum-v1", "--steps", "600", "--run", str(run)]
    small = ["--num-envs", "3", "--n-steps", "8", "--batch-size", "24"]
    assert main(["train", "ppo", *arguments, *small]) == 4
    (dump,) = (run / "dumps").iterdir()
    monkeypatch.undo()
    capsys.readouterr()
    assert main(["record", "--from-dump", str(dump), "--out", str(film)]) == 0
    steps = len(read_dump(dump).steps["reward"])
    assert f"{steps + 30} frames" in capsys.readouterr().out  # one second of the last one


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    from robolearn.agents.ppo import PPO, PPOConfig

    agent = PPO(BALANCE, PPOConfig(hidden_sizes=(8,)), engine="analytic")
    agent.save(tmp_path / "agent")
    with torch.no_grad():
        next(agent.net.parameters()).flatten()[0] = math.nan
    before = {path.name: path.read_bytes() for path in (tmp_path / "agent").iterdir()}
    with pytest.raises(DivergedError, match="is not finite: it was not saved"):
        agent.save(tmp_path / "agent")
    after = {path.name: path.read_bytes() for path in (tmp_path / "agent").iterdir()}
    assert after == before


@each_network
def test_a_reward_too_large_for_networks_is_infinite_to_them(agent, broken, tmp_path):
    broken("reward", 1e300)
    assert_stops_with_sound_weights(breaking(agent, tmp_path / "run"), "The reward of environment")


def test_an_evaluation_in_which_everything_breaks_comes_to_an_end(broken):
    broken("reward", math.nan)
    Breaking.left = -(10**9)
    Always = type("Always", (Breaking,), {"_spoiled": lambda self, place, value: value * math.nan})
    gym.register("tests/Always-v0", Always, disable_env_checker=True)
    env = EnvConfig(id="tests/Always-v0", on_divergence="truncate")
    from robolearn.evaluation import evaluate

    class Still:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros(len(observation), np.int64), None

    with pytest.raises(DivergedError):
        evaluate(Still(), env, episodes=2)
