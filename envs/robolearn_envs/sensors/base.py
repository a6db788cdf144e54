"""What every sensor is."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import gymnasium as gym

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.config import Parameter
from robolearn_envs.core.sim import Sim
from robolearn_envs.names import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Sensor(ABC):
    """Reads a batch of environments; noise, dropout and latency are the same for all sensors.

    A reading is what the policy sees: float32, within ``space``, scaled by ``scale``.
    """

    name: str
    """Of the reading; parameters of the noise are called after it, such as "lidar_noise"."""
    noise: float = 0.0
    """Standard deviation of normal noise, in the sensor's unit."""
    dropout: float = 0.0
    """Probability that a reading is lost and reads ``lost``."""
    latency: float = 0.0
    """Probability that all readings of an episode are those of the step before."""

    scale: ClassVar[float] = 1.0
    """How many units of the sensor 1 stands for in a reading."""
    lost: ClassVar[float] = 0.0
    """What a lost reading reads, in parts of ``scale``."""
    mirror_signs: ClassVar[tuple[float, ...]] = ()
    """Factors of a flat reading in a mirror, left for right."""
    uses_history: ClassVar[bool] = False
    """Whether ``Sim.history`` has to be kept."""
    full_noise: ClassVar[float] = 0.0
    """``noise`` where everything is randomized by 1, in the sensor's unit."""
    full_dropout: ClassVar[float] = 0.0
    """``dropout`` where everything is randomized by 1."""

    @property
    @abstractmethod
    def space(self) -> gym.spaces.Box:
        """Space of a single reading."""

    @abstractmethod
    def read(self, sim: Sim) -> Array:
        """Return readings without noise. Shape (n, *space.shape)."""

    @cached_property
    def size(self) -> int:
        """Numbers in a reading."""
        return math.prod(self.space.shape)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest number in any reading."""
        return float(self.space.low.min()), float(self.space.high.max())

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters of the noise, which domain randomization may draw."""
        return (
            Parameter(f"{self.name}_noise", self.noise, self.full_noise, is_factor=False),
            Parameter(
                f"{self.name}_dropout",
                self.dropout,
                self.full_dropout,
                is_factor=False,
                at_most=1.0,
            ),
            Parameter(
                f"{self.name}_latency",
                self.latency,
                1.0 if self.full_noise else 0.0,
                is_factor=False,
                at_most=1.0,
            ),
        )

    def mirror(self, reading: Array) -> Array:
        """Return what is read in the same world seen in a mirror, left for right.

        Raises:
            ValueError: The sensor does not say.
        """
        if not self.mirror_signs:
            raise ValueError(f"{type(self).__name__} has no mirror: set mirror_signs.")
        return reading * namespace(reading).asarray(self.mirror_signs, dtype=reading.dtype)

    def add_noise(self, reading: Array, draws: Array, parameters: Mapping[str, Array]) -> Array:
        """Return readings with normal noise, some of them lost.

        Args:
            reading: Without noise. Shape (n, *space.shape).
            draws: Uniform in (0, 1). Shape (n, 3 size).
            parameters: Values of ``parameters``, by name; missing ones are 0. Shapes (n,).
        """
        xp = namespace(reading)
        flat = xp.reshape(reading, (reading.shape[0], -1))
        first, second, third = (draws[:, k * self.size : (k + 1) * self.size] for k in range(3))
        if (noise := parameters.get(f"{self.name}_noise")) is not None:
            normal = xp.sqrt(-2 * xp.log(first)) * xp.cos(2 * math.pi * second)  # Box-Muller
            flat = flat + xp.astype(noise / self.scale, flat.dtype)[:, None] * normal
            flat = xp.clip(flat, *self.bounds)
        if (dropout := parameters.get(f"{self.name}_dropout")) is not None:
            flat = xp.where(third < dropout[:, None], self.lost, flat)
        return xp.reshape(flat, reading.shape)


def arange_like(count: int, array: Array) -> Array:
    """Return 0 ... count - 1, of an array's type and on its device."""
    return namespace(array).arange(count, dtype=array.dtype, device=array.device)


def check_range(owner: object, name: str, low: float, high: float) -> None:
    """Refuse a field that is no number within bounds.

    Raises:
        ValueError: It is not.
    """
    value = getattr(owner, name)
    whole = isinstance(low, int)
    right = isinstance(value, numbers.Integral if whole else numbers.Real)
    if isinstance(value, bool) or not right or not low <= value <= high:  # type: ignore[operator]
        kind = "an integer" if whole else "a number"
        raise ValueError(
            f"{name} of {type(owner).__name__} must be {kind} in {low:g}..{high:g}, got {value!r}."
        )


S = TypeVar("S", bound=Sensor)


def configured(nominal: S, changes: S | Mapping[str, Any] | None) -> S:
    """Return a sensor with some fields changed, or another sensor.

    Raises:
        ValueError: No such field, or a value that cannot be.
    """
    if changes is None:
        return nominal
    if isinstance(changes, Sensor):
        return changes
    if not isinstance(changes, Mapping):
        raise ValueError(
            f"{nominal.name} must be a {type(nominal).__name__} or a mapping of its fields, "
            f"got {changes!r}."
        )
    known = [field.name for field in fields(nominal) if field.name != "name"]
    for name in changes:
        if name not in known:
            raise ValueError(did_you_mean(f"field of {type(nominal).__name__}", str(name), known))
    return replace(nominal, **changes)
