"""Environments that go wrong when told to, and what is asked of them in workers."""

import os
import signal
import sys
import time
from functools import partial

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robolearn.snapshots import Rewindable
from robolearn_envs.engines.base import SimulationError

GO, RAISE, HANG, DIE, LEAVE, BREAK, PAUSE, REFUSE = range(8)
LENGTH = 6


class Troubled(gym.Env):
    """Shows a number drawn at the reset and its steps; does what an action says.

    Episodes end as a success after six steps, each of which earns 1.
    """

    observation_space = gym.spaces.Box(0.0, 9.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(8)
    resets = 0

    def __init__(self, bad_reset=None):
        self.bad_reset = bad_reset

    def _observe(self):
        return np.array([self.drawn, self.steps], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        act((options or {}).get("act", GO))
        if self.bad_reset is not None and seed is not None and self.bad_reset <= seed:
            raise RuntimeError(f"seed {seed}\nis not to my taste")
        self.drawn, self.steps = self.np_random.random(), 0
        return self._observe(), {"drawn": self.drawn}

    def step(self, action):
        act(action)
        self.steps += 1
        done = self.steps == LENGTH
        return self._observe(), 1.0, done, False, {"success": True} if done else {}


def act(action):
    if action == RAISE:
        raise RuntimeError("the motor\nis on fire")
    if action == HANG:
        time.sleep(1000)
    if action == DIE:
        os.kill(os.getpid(), signal.SIGKILL)
    if action == LEAVE:
        sys.exit(7)
    if action == BREAK:
        raise SimulationError("the arm is no longer finite")
    if action == PAUSE:
        time.sleep(0.3)
    if action == REFUSE:
        raise TypeError("the motor takes\nno such action")


class Forgetful(gym.Env):
    """Begins and goes on at numbers no seed fixes."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def _observe(self):
        return np.frombuffer(os.urandom(2), np.uint16).astype(np.float32) / 2**16

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action):
        return self._observe(), 1.0, False, False, {}


def forgetful(count):
    """Return environments made as those of a training."""
    makers = [lambda: Rewindable(Forgetful())] * count
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


class Keyed(gym.Env):
    """A Dict of a Box and a Tuple, and an info of many kinds that is not always there."""

    observation_space = gym.spaces.Dict(
        {
            "place": gym.spaces.Box(-9.0, 9.0, (2, 1), np.float64),
            "rest": gym.spaces.Tuple((gym.spaces.Discrete(99), gym.spaces.MultiBinary(2))),
        }
    )
    action_space = gym.spaces.Dict(
        {"push": gym.spaces.Box(-1.0, 1.0, (1,)), "gear": gym.spaces.Discrete(3)}
    )

    def _observe(self):
        rest = (self.steps, np.array([self.steps % 2, 1], np.int8))
        return {"place": self.np_random.normal(size=(2, 1)).clip(-9, 9), "rest": rest}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = int(self.np_random.integers(3))
        return self._observe(), {}

    def step(self, action):
        self.steps += 1 + int(action["gear"])
        info = {}
        if self.np_random.random() < 0.2:
            info = {"count": self.steps, "word": "x" * self.steps, "part": {"force": np.ones(3)}}
        return self._observe(), float(action["push"][0]), self.steps > 9, False, info


class Wide(gym.Env):
    """Actions larger than any buffer of a pipe: 4 MB."""

    observation_space = gym.spaces.Box(0.0, 9.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1_000_000,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}


class Clinging(SyncVectorEnv):
    """Does not come to an end when closed."""

    def close_extras(self, **kwargs):
        time.sleep(1000)


def sync(kind, count, mode=AutoresetMode.SAME_STEP, batch=SyncVectorEnv, **options):
    return batch([partial(kind, **options)] * count, autoreset_mode=mode)


def refuse(count):
    raise ImportError("no simulator here: pip install simulator")


def leave(count):
    sys.exit(3)


def varied(count):
    """Return environments of one space where there are three, of another where not."""
    return sync(Troubled if count == 3 else Wide, count)


# What tests ask of the environments in a worker with call().


def resets(envs, _):
    return [env.unwrapped.resets for env in envs.envs]


def steps(envs, factor):
    return [factor * env.unwrapped.steps for env in envs.envs]


def imported(envs, module):
    return module in sys.modules


def variable(envs, name):
    return os.environ.get(name)


def complain(envs, word):
    raise KeyError(word)


def end(envs, _):
    os.kill(os.getpid(), signal.SIGKILL)
