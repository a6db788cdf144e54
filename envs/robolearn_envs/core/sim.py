"""What tasks and sensors see of the simulation."""

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.core.backend import EnvIndex

if TYPE_CHECKING:
    from robolearn_envs.engines.base import Engine


class Sim(NamedTuple):
    """The state of n environments; arrays are live, do not write."""

    engine: "Engine"
    rows: EnvIndex
    """Which environments, for methods of the engine."""
    robot: Any
    """A :class:`~robolearn_envs.robots.base.Robot`."""
    qpos: Array
    """Joint positions, m or rad. Shape (n, positions)."""
    qvel: Array
    """Joint velocities, m/s or rad/s. Shape (n, velocities)."""
    parameters: Mapping[str, Array]
    """Randomized parameters of the episodes, by name. Shapes (n,)."""
    history: Mapping[str, Array]
    """"initial_qpos" and "previous_qvel" (one control step ago), where a sensor uses them."""
    sensors: Mapping[str, Array]
    """Readings by the name of their sensor; in ``observe`` only."""
    control_timestep: float
    """s, of a control step."""

    @property
    def xp(self) -> ModuleType:
        """The array namespace to compute in: NumPy, or torch by the same names."""
        return namespace(self.qpos)

    def raycast(self, origin: Array, direction: Array, max_distance: float) -> Array:
        """Return how far rays go; see :meth:`Engine.raycast`. Shape (n, R)."""
        return self.engine.raycast(self.rows, origin, direction, max_distance)
