"""Environments whose exact values are known.

``Walk`` runs in all three autoreset modes. Its state walks 0, 1, 2, 0, 1, 2, ... whatever is done,
and is truncated (or, on request, terminated) every ``limit`` steps. An episode begins in state 0
and the observation is the state, one-hot. With the limit 5 the last step leaves state 1 and reaches
state 2, and the next episode begins in state 0: what was left, what was reached and what the reset
gives all differ, and each is also visited in mid-episode, so that its value is learned.

``Probe`` is any small table of rewards and successors. ``Cue`` can be valued from memory alone.
"""

from typing import NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

STATES = 3
LIMIT = 5
ALL_STATES = np.eye(STATES, dtype=np.float32)

MODES = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED)


class Walk(VectorEnv):
    """See above; env i has made i steps of its first episode when it begins, mod the limit."""

    def __init__(
        self, mode, *, num_envs=4, rewards=(1.0, 0.0, 0.0), terminates=False, staggered=True
    ):
        self.metadata = {"autoreset_mode": mode}
        self.num_envs = num_envs
        self.single_observation_space = gym.spaces.Box(0.0, 1.0, (STATES,), np.float32)
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._mode, self._terminates, self._staggered = mode, terminates, staggered
        self._rewards = np.array(rewards)
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def _observe(self):
        return ALL_STATES[self._elapsed % STATES]

    def reset(self, *, seed=None, options=None):
        if options is not None:
            mask = options["reset_mask"]
            assert bool(self._ended[mask].all()), "only ended environments need a reset"
            self._elapsed[mask], self._ended[mask] = 0, False
        else:
            self._elapsed[:] = np.arange(self.num_envs) % LIMIT if self._staggered else 0
            self._ended[:] = False
        return self._observe(), {}

    def step(self, actions):
        resets = self._ended.copy()
        assert self._mode is AutoresetMode.NEXT_STEP or not resets.any(), "stepped after its end"
        reward = np.where(resets, 0.0, self._rewards[self._elapsed % STATES])
        self._elapsed = np.where(resets, 0, self._elapsed + 1)
        done = self._elapsed >= LIMIT
        observation, info = self._observe(), {}
        self._ended = done & (self._mode is not AutoresetMode.SAME_STEP)
        if self._mode is AutoresetMode.SAME_STEP and done.any():
            final = np.full(self.num_envs, None, dtype=object)
            final[np.flatnonzero(done)] = list(observation[done])
            info = {"final_obs": final, "_final_obs": done, "final_info": {}, "_final_info": done}
            self._elapsed[done] = 0
            observation = self._observe()
        never = np.zeros_like(done)
        terminated, truncated = (done, never) if self._terminates else (never, done)
        return observation, reward, terminated, truncated, info


END = -1
"""Successor of a step that terminates."""


class Table(NamedTuple):
    """A decision problem of S states and A actions, small enough to be solved by hand."""

    obs: np.ndarray
    """What each state shows. Shape (S, D), float32."""
    reward: np.ndarray
    """For taking each action in each state. Shape (S, A)."""
    reached: np.ndarray
    """The state it leads to, or END. Shape (S, A), int64."""
    starts: tuple[int, ...]
    """The states in which episodes begin, one after the other in turn."""


class Probe(VectorEnv):
    """Runs a table, resetting in the same step. Nothing is random: all starts come equally often.

    What shows at an end is what state 0 shows, so that whoever looks beyond the end is misled.
    """

    def __init__(self, table, num_envs):
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs = num_envs
        self.single_observation_space = gym.spaces.Box(-10.0, 10.0, table.obs.shape[1:], np.float32)
        self.single_action_space = gym.spaces.Discrete(table.reward.shape[1])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._table, self._starts = table, np.array(table.starts)

    def reset(self, *, seed=None, options=None):
        self._turn = np.arange(self.num_envs)  # env i has its i-th start first
        self._state = self._starts[self._turn % len(self._starts)]
        return self._table.obs[self._state], {}

    def step(self, actions):
        reward = self._table.reward[self._state, actions]
        reached = self._table.reached[self._state, actions]
        ended, info = reached == END, {}
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            final[np.flatnonzero(ended)] = list(self._table.obs[reached * ~ended][ended])
            info = {"final_obs": final, "_final_obs": ended, "final_info": {}, "_final_info": ended}
        self._turn = self._turn + ended
        first = self._starts[self._turn % len(self._starts)]
        self._state = np.where(ended, first, reached)
        return self._table.obs[self._state], reward, ended, np.zeros_like(ended), info


def _table(obs, reward, reached, starts):
    """Return a table of lists; what holds for all actions may be given once."""
    reward, reached = np.array(reward, dtype=np.float64), np.array(reached)
    reward, reached = (x if x.ndim == 2 else np.stack([x, x], axis=1) for x in (reward, reached))
    return Table(np.array(obs, dtype=np.float32), reward, reached, starts)


CONSTANT = _table([[1.0]], [1.0], [END], starts=(0,))
"""One step, which pays 1."""

ECHO = _table([[-1.0], [2.0]], [-1.0, 2.0], [END, END], starts=(0, 1))
"""One step, which pays what is seen."""

DELAYED = _table([[0.0], [1.0]], [0.0, 1.0], [1, END], starts=(0,))
"""Two steps, the second of which pays 1."""

MATCH = _table([[0.0], [1.0]], [[1.0, -1.0], [-1.0, 1.0]], [END, END], starts=(0, 1))
"""One step, which pays 1 for doing what is seen and -1 for the other."""

LUCK = _table([[1.0]] * 4, [[1.0], [0.0], [0.0], [0.0]], [[END]] * 4, starts=(0, 1, 2, 3))
"""One step, with nothing to choose, which pays 1 every fourth time, and nobody sees when."""

CHOICES = _table(
    np.eye(3), [[0.0, 0.0], [1.0, 1.0], [1.5, -1.5]], [[1, 2], [END] * 2, [END] * 2], (0, 1, 2)
)
"""Action 0 leads from state 0 to 1, which pays 1. Action 1 leads to 2, which pays 1.5 for action
0 and -1.5 for action 1. Episodes begin in all three."""

TWO_STEPS = _table(
    np.eye(3), [[0.0, 0.0], [-8.0, -8.0], [8.0, 8.0]], [[1, 2], [END] * 2, [END] * 2], starts=(0,)
)
"""The first action decides what the second step pays: -8 after action 0 and 8 after action 1."""

CREDIT = _table(
    np.eye(7),
    [0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 1.0],
    [[1, 4], [2, 2], [3, 3], [END, END], [5, 5], [6, 6], [END, END]],
    starts=(0,),
)
"""The first of four actions decides what the last step pays: -1 for action 0 and 1 for action 1.
The states are 0, then 1, 2, 3 after action 0 or 4, 5, 6 after action 1. No other step pays."""


class Cue(gym.Env):
    """Shows at its first step alone, one-hot, whether every step of this episode earns 0 or 1.

    What follows the first observation can be valued only from memory. It never terminates; each
    step truncates it with probability ``truncates``, so that every memory at which an episode is
    cut is also had in mid-episode, where its value is learned.
    """

    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, truncates=0.0):
        self.truncates = truncates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self.cue], {}

    def step(self, action):
        cut = bool(self.np_random.random() < self.truncates)
        return np.zeros(2, np.float32), float(self.cue), False, cut, {}
