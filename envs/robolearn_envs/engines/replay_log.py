"""How the running episode of each copy came about: enough to live through it again."""

from collections.abc import Mapping

import numpy as np


class ReplayLog:
    """The state each copy's episode began in, and the forces on all copies since the oldest."""

    def __init__(self, num_envs: int, positions: int, velocities: int, actuated: int) -> None:
        """Begin all episodes at rest in the origin."""
        self.qpos, self.qvel = np.zeros((num_envs, positions)), np.zeros((num_envs, velocities))
        """Where the episodes began. Shapes (N, positions) and (N, velocities)."""
        self._forces: list[np.ndarray] = []
        self._actuated = actuated
        self._age = np.zeros(num_envs, dtype=np.int64)  # physics steps

    def begin(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Note that copies ``ids`` begin an episode in a state."""
        self.qpos[ids], self.qvel[ids] = qpos, qvel
        self._age[ids] = 0
        del self._forces[: len(self._forces) - int(self._age.max())]

    def add(self, force: np.ndarray) -> None:
        """Note the forces of a physics step. Shape (N, actuated)."""
        self._forces.append(np.array(force))
        self._age += 1

    def since(self, env: int) -> np.ndarray:
        """Return the forces on a copy since its episode began. Shape (steps, actuated)."""
        age = int(self._age[env])
        latest = [force[env] for force in self._forces[len(self._forces) - age :]]
        return np.array(latest).reshape(age, self._actuated)

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all of it, copied."""
        forces = np.array(self._forces).reshape(-1, len(self._age), self._actuated)
        return {
            "qpos": self.qpos.copy(),
            "qvel": self.qvel.copy(),
            "age": self._age.copy(),
            "forces": forces,
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a state."""
        self.qpos[:], self.qvel[:] = state["qpos"], state["qvel"]
        self._age[:] = state["age"]
        self._forces = list(state["forces"])
