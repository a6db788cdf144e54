# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false
"""Bullet: one private world per copy, with everything switched off that the robot does not have."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np

from robolearn_envs.engines.base import EngineError, check_finite
from robolearn_envs.robots import CartPole


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide what C code prints: importing pybullet announces its build time on stderr."""
    saved = os.dup(2)
    with open(os.devnull, "w") as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


with _quiet_stderr():
    import pybullet

MAX_WORLDS = 512
"""Worlds in one engine: each takes some 28 MB, and one process can hold 1024 at the most."""


class BulletEngine:
    """Steps N copies one after the other, each in a physics client of its own.

    Bullet cannot move a link's centre of mass after loading, so a copy whose pole is s times
    as long is simulated in units of s metres: positions, velocities, gravity and forces are
    divided by s, which leaves the equations of motion exactly the same.
    """

    def __init__(self, robot: CartPole, num_envs: int, timestep: float) -> None:
        """Load the robot into N worlds.

        Raises:
            ValueError: More copies than Bullet can hold.
        """
        if num_envs > MAX_WORLDS:
            raise ValueError(
                f"The bullet engine takes 28 MB per environment and at most {MAX_WORLDS} of them, "
                f"got num_envs={num_envs}. Use fewer environments or engine='mujoco'."
            )
        self._robot = robot
        self._qpos = np.zeros((num_envs, 2))
        self._qvel = np.zeros((num_envs, 2))
        self._unit = np.ones((num_envs, 1))  # m, the length that is 1 in this copy's world
        self._worlds = [self._build(timestep) for _ in range(num_envs)]

    def _build(self, timestep: float) -> tuple[int, int]:
        client = pybullet.connect(pybullet.DIRECT)
        if client < 0:
            raise EngineError("Bullet refused another physics client; close unused environments.")
        pybullet.setTimeStep(timestep, physicsClientId=client)
        pybullet.setGravity(0, 0, -self._robot.gravity, physicsClientId=client)
        body = load_urdf(self._robot.to_urdf(), client)
        for joint in range(2):
            pybullet.setJointMotorControl2(
                body, joint, pybullet.VELOCITY_CONTROL, force=0, physicsClientId=client
            )
        for link in range(-1, 2):
            pybullet.changeDynamics(
                body,
                link,
                linearDamping=0,
                angularDamping=0,
                jointDamping=0,
                physicsClientId=client,
            )
        return client, body

    @property
    def qpos(self) -> np.ndarray:
        """Joint positions. Shape (N, 2)."""
        return self._qpos

    @property
    def qvel(self) -> np.ndarray:
        """Joint velocities. Shape (N, 2)."""
        return self._qvel

    def reset(
        self,
        ids: np.ndarray,
        qpos: np.ndarray,
        qvel: np.ndarray,
        factors: dict[str, np.ndarray] | None,
    ) -> None:
        """Put copies ``ids`` into a state, with new physical fields if ``factors`` are given."""
        if factors is not None:
            self._set_fields(ids, factors)
        self._qpos[ids], self._qvel[ids] = qpos, qvel
        for env in ids:
            client, body = self._worlds[env]
            for joint, unit in enumerate((self._unit[env, 0], 1.0)):  # only x is a length
                pybullet.resetJointState(
                    body,
                    joint,
                    self._qpos[env, joint] / unit,
                    self._qvel[env, joint] / unit,
                    physicsClientId=client,
                )

    def _set_fields(self, ids: np.ndarray, factors: dict[str, np.ndarray]) -> None:
        robot = self._robot.scaled(factors)
        self._unit[ids, 0] = factors["pole_length"]
        for row, env in enumerate(ids):
            client, body = self._worlds[env]
            unit = self._unit[env, 0]
            pybullet.setGravity(0, 0, -self._robot.gravity / unit, physicsClientId=client)
            for link, (mass, _, inertia, spin) in enumerate(robot.at(row).links().values()):
                across, along = inertia / unit**2, spin / unit**2
                pybullet.changeDynamics(
                    body,
                    link,
                    mass=mass,
                    localInertiaDiagonal=(across, across, along),
                    physicsClientId=client,
                )

    def step(self, force: np.ndarray) -> None:
        """Advance every world by one physics step."""
        states = np.empty((len(self._worlds), 4))
        push = (force / self._unit).tolist()
        for env, (client, body) in enumerate(self._worlds):
            pybullet.setJointMotorControl2(
                body, 0, pybullet.TORQUE_CONTROL, force=push[env][0], physicsClientId=client
            )
            pybullet.stepSimulation(physicsClientId=client)
            (x, x_dot, *_), (theta, theta_dot, *_) = pybullet.getJointStates(
                body, (0, 1), physicsClientId=client
            )
            states[env] = x, theta, x_dot, theta_dot
        check_finite("Bullet", states)
        states[:, 0::2] *= self._unit  # x and x_dot are lengths
        self._qpos[:], self._qvel[:] = states[:, :2], states[:, 2:]

    def close(self) -> None:
        """Disconnect from every world."""
        for client, _ in self._worlds:
            if pybullet.isConnected(client):
                pybullet.disconnect(client)
        self._worlds = []


def load_urdf(urdf: str, client: int) -> int:
    """Load URDF text into a physics client and return the body's id."""
    with tempfile.NamedTemporaryFile("w", suffix=".urdf") as file:
        file.write(urdf)
        file.flush()
        return pybullet.loadURDF(
            file.name,
            useFixedBase=True,
            flags=pybullet.URDF_USE_INERTIA_FROM_FILE,
            physicsClientId=client,
        )
