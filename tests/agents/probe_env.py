"""A vector environment whose exact values are known, in all three autoreset modes.

The state walks 0, 1, 2, 0, 1, 2, ... whatever is done, and is truncated (or, on request,
terminated) every ``limit`` steps. An episode begins in state 0 and the observation is the state,
one-hot. With the limit 5 the last step leaves state 1 and reaches state 2, and the next episode
begins in state 0: what was left, what was reached and what the reset gives all differ, and each
is also visited in mid-episode, so that its value is learned.
"""

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
