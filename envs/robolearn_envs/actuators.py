"""Actuators: the laws that turn ctrl in [-1, 1] into joint forces, the same on every engine.

They are evaluated once a physics step, in shared array code. Servos are semi-implicit: they ask for
no more than what brings the joint to its target within the step, given the inertia that the joint
has at least (``armature``, the rotor's inertia as seen through the gear). So any gain is stable on
an unloaded joint, where an explicit law with ``kp > 2 armature / timestep`` would oscillate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from robolearn_envs.arrays import Array, namespace


class Actuator(Protocol):
    """Drives one joint."""

    @property
    def joint(self) -> str:
        """The joint it drives."""
        ...

    def force(
        self,
        position: Array,
        velocity: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return the force on the joint, N or N m. Shape (N,).

        Args:
            position: Of the joint, m or rad. Shape (N,).
            velocity: Of the joint, m/s or rad/s. Shape (N,).
            ctrl: In [-1, 1]. Shape (N,).
            timestep: Physics step in s.
            scales: Factors of the robot's randomized fields, by name. Shapes (N,).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Motor:
    """A force in proportion to ctrl."""

    joint: str
    max_force: float
    """Force at full ctrl, N or N m."""
    friction: float = 0.0
    """Viscous friction of the joint, N s/m or N m s/rad."""

    def force(
        self,
        position: Array,
        velocity: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return ``max_force ctrl - friction velocity``. Shape (N,)."""
        if self.friction:
            return self.max_force * ctrl - self.friction * velocity
        return self.max_force * ctrl


@dataclass(frozen=True, kw_only=True)
class VelocityServo:
    """Drives a joint at a speed in proportion to ctrl (MuJoCo's ``velocity`` actuator)."""

    joint: str
    kp: float
    """Torque per error of the speed, N m s/rad; the field "velocity_kp" of the robot scales it."""
    max_torque: float
    """N m; the field "max_torque" of the robot scales it."""
    max_velocity: float
    """Speed at full ctrl, rad/s."""
    armature: float
    """Least inertia of the joint, kg m^2: of the rotor as seen through the gear, and the wheel."""

    def force(
        self,
        position: Array,
        velocity: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return ``k (max_velocity ctrl - velocity)``, within +-max_torque. Shape (N,).

        ``k = kp / (1 + kp timestep / armature)`` is the gain of an implicit step.
        """
        xp = namespace(velocity)
        kp = self.kp * scales.get("velocity_kp", 1.0)
        limit = self.max_torque * scales.get("max_torque", 1.0)
        gain = kp / (1 + kp * (timestep / self.armature))
        torque = gain * (self.max_velocity * ctrl - velocity)
        return xp.minimum(xp.maximum(torque, -limit), limit)


@dataclass(frozen=True, kw_only=True)
class PositionServo:
    """Drives a joint to a position in proportion to ctrl (MuJoCo's ``position`` actuator)."""

    joint: str
    kp: float
    """Torque per error of the position, N m/rad."""
    kv: float
    """Torque per speed, against it, N m s/rad."""
    max_torque: float
    """N m."""
    max_position: float
    """Position at full ctrl, rad."""
    armature: float
    """Least inertia of the joint, kg m^2."""

    def force(
        self,
        position: Array,
        velocity: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return the torque of an implicit step of a spring and a damper. Shape (N,).

        ``(kp (max_position ctrl - position - timestep velocity) - kv velocity) / (1 + timestep
        (kv + timestep kp) / armature)``, within +-max_torque.
        """
        xp = namespace(velocity)
        error = self.max_position * ctrl - position - timestep * velocity
        damping = 1 + timestep * (self.kv + timestep * self.kp) / self.armature
        torque = (self.kp * error - self.kv * velocity) / damping
        return xp.clip(torque, -self.max_torque, self.max_torque)
