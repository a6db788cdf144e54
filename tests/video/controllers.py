"""Controllers of unlike skill."""

import numpy as np


class Constant:
    """Does the same always."""

    def __init__(self, action):
        self.action = np.asarray(action)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return self.action[None], state


class Thinks(Constant):
    """Does the same, and has values."""

    def value(self, observation, state=None):
        return np.array([10.0 * np.asarray(observation)[0, 0]])

    def q_values(self, observation):
        return np.array([[1.0, 2.0]])


IDLE = Constant(np.zeros(1, np.float32))
RIGHT = Constant(np.ones(1, np.float32))
