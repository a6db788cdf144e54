# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false
"""Bullet: one private world per environment."""

from collections.abc import Mapping

import numpy as np

from robolearn_envs.core.backend import EnvIndex
from robolearn_envs.engines.base import non_finite_envs
from robolearn_envs.engines.bullet_obstacles import BulletObstacles
from robolearn_envs.engines.bullet_world import BulletBody, BulletClients, pybullet
from robolearn_envs.engines.replay_log import ReplayLog
from robolearn_envs.robots import Robot
from robolearn_envs.robots.base import env_robot

MAX_WORLDS = 512
"""Worlds in one engine: each takes some 28 MB, and one process can hold 1024 at the most."""


class BulletEngine:
    """Steps N environments one after the other, each in a physics client of its own.

    Bullet cannot move a link's center of mass after loading, so an environment whose pole is s
    times as long (see ``Robot.length_field``) is simulated in units of s meters: positions,
    velocities, gravity and forces are divided by s, torques by s^2, which leaves the equations of
    motion exactly the same. Only the part of Bullet's own damping that grows with the square of a
    speed differs then: by that factor s.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        timestep: float,
        *,
        bullet_damping: bool = False,
    ) -> None:
        """Load the robot into N worlds.

        Args:
            robot: What moves.
            num_envs: N.
            timestep: Physics step in s.
            bullet_damping: Leave Bullet's own damping on, which the robot does not have.

        Raises:
            ValueError: More environments than one engine may have.
            SimulationError: More worlds than one process can hold.
        """
        if num_envs > MAX_WORLDS:
            raise ValueError(
                f"The bullet engine takes 28 MB per environment and at most {MAX_WORLDS} of them, "
                f"got num_envs={num_envs}. Use fewer environments or engine='mujoco'."
            )
        self._robot = robot
        first = (7, 6) if robot.floating_base else (0, 0)
        joints, actuated = len(robot.joint_names), robot.actuated_joints
        self._qpos = np.zeros((num_envs, first[0] + joints))
        self._qvel = np.zeros((num_envs, first[1] + joints))
        self.diverged = np.zeros(num_envs, dtype=np.bool_)
        widths = self._qpos.shape[1], self._qvel.shape[1], len(actuated)
        self._episodes = ReplayLog(num_envs, *widths)
        self._length_scale = np.ones((num_envs, 1))  # m, the length that is 1 in a world
        self._q_scale = np.ones_like(self._qpos)  # of positions and velocities in a world
        self._force_scale = np.ones((num_envs, len(actuated)))
        lengths = robot.length_joints
        self._is_length = np.array([name in lengths for name in robot.joint_names])
        self._moves_length = np.array([name in lengths for name in actuated])
        self._timestep = timestep
        self._damped = bullet_damping
        self._clients = BulletClients(self, num_envs)
        self._bodies = [self._build(client) for client in self._clients.ids]
        self._scenery: list[BulletObstacles] = []
        if robot.collision_radius is not None:
            self._scenery = [BulletObstacles(client) for client in self._clients.ids]
        none = np.zeros((0, 3)), np.zeros((0, 4))
        self._obstacles = [none] * num_envs  # cylinders and boxes of each environment

    def _build(self, client: int) -> BulletBody:
        pybullet.setTimeStep(self._timestep, physicsClientId=client)
        pybullet.setGravity(0, 0, -self._robot.gravity, physicsClientId=client)
        return BulletBody(self._robot, client, damped=self._damped)

    @property
    def qpos(self) -> np.ndarray:
        """Joint positions. Shape (N, positions)."""
        return self._qpos

    @property
    def qvel(self) -> np.ndarray:
        """Joint velocities. Shape (N, velocities)."""
        return self._qvel

    def reset(
        self,
        rows: np.ndarray,
        qpos: np.ndarray,
        qvel: np.ndarray,
        field_scales: Mapping[str, np.ndarray] | None,
    ) -> None:
        """Put some environments into a state, with other physical fields if there are scales."""
        if field_scales is not None:
            self._set_fields(rows, field_scales)
        self._qpos[rows], self._qvel[rows] = qpos, qvel
        self._episodes.begin(rows, qpos, qvel)
        self.diverged[rows] = False
        for env in rows:
            self._put(env, self._qpos[env], self._qvel[env])

    def _put(self, env: int, qpos: np.ndarray, qvel: np.ndarray) -> None:
        if self._robot.length_field is not None:
            qpos, qvel = qpos / self._q_scale[env], qvel / self._q_scale[env]
        self._bodies[env].set_state(qpos, qvel)

    def _set_fields(self, rows: np.ndarray, field_scales: Mapping[str, np.ndarray]) -> None:
        if (length := self._robot.length_field) in field_scales:
            self._length_scale[rows, 0] = field_scales[str(length)]
            scale = self._length_scale[rows]
            self._q_scale[rows] = np.where(self._is_length, scale, 1.0)
            self._force_scale[rows] = np.where(self._moves_length, scale, scale**2)
        for row, env in enumerate(rows):
            unit = self._length_scale[env, 0]
            gravity = -self._robot.gravity / unit
            pybullet.setGravity(0, 0, gravity, physicsClientId=self._clients.ids[env])
            robot, body = env_robot(self._robot, field_scales, row), self._bodies[env]
            for link, inertial in robot.link_inertials().items():
                body.set_inertial(link, inertial, unit)
            if "friction" in field_scales:
                body.set_frictions(robot.link_frictions())

    def step(self, force: np.ndarray) -> None:
        """Advance every world by one physics step."""
        self._episodes.add(force)
        for env in range(len(self._bodies)):
            self._push(env, force[env])
        self._read()
        diverged = non_finite_envs(np.concatenate([self._qpos, self._qvel], axis=1))
        if diverged is not None:
            self.diverged |= diverged
            for env in np.flatnonzero(diverged).tolist():
                self._replace(env)

    def _push(self, env: int, force: np.ndarray) -> None:
        self._bodies[env].apply_torques((force / self._force_scale[env]).tolist())
        pybullet.stepSimulation(physicsClientId=self._clients.ids[env])

    def _read(self) -> None:
        for env, body in enumerate(self._bodies):
            body.get_state(self._qpos[env], self._qvel[env])
        if self._robot.length_field is not None:
            self._qpos *= self._q_scale
            self._qvel *= self._q_scale

    def _replace(self, env: int) -> None:
        """Give a environment a new world, at rest: nothing mends a NaN that is in one."""
        client = self._clients.replace(env)
        self._bodies[env] = self._build(client)
        if self._scenery:
            self._scenery[env] = BulletObstacles(client)
            self._scenery[env].set_obstacles(*self._obstacles[env])
        self._qpos[env], self._qvel[env] = 0.0, 0.0

    def get_state(self) -> dict[str, np.ndarray]:
        """Return how each episode began and what was done since.

        Bullet keeps contacts and impulses that no one can read or write: only a world that lives
        through the same again gets into the same state.
        """
        return self._episodes.get_state()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Replay the episodes of a state."""
        self._episodes.set_state(state)
        for env in range(len(self._bodies)):
            self._put(env, self._episodes.qpos[env], self._episodes.qvel[env])
            for force in self._episodes.since(env):
                self._push(env, force)
        self._read()

    def set_obstacles(self, rows: EnvIndex, cylinders: np.ndarray, boxes: np.ndarray) -> None:
        """Put obstacles around some environments."""
        for row, env in enumerate(np.arange(len(self._scenery))[rows]):
            self._obstacles[env] = cylinders[row], boxes[row]
            self._scenery[env].set_obstacles(*self._obstacles[env])

    def set_obstacle_positions(self, cylinders: np.ndarray) -> None:
        """Move every environment's cylinders."""
        for scenery, row in zip(self._scenery, cylinders, strict=True):
            scenery.set_positions(row)

    def raycast(
        self, rows: EnvIndex, origin: np.ndarray, direction: np.ndarray, max_distance: float
    ) -> np.ndarray:
        """Return how far rays go. Shape (n, R)."""
        chosen = np.arange(len(self._scenery))[rows]
        return np.array(
            [
                self._scenery[env].raycast(origin[row], direction[row], max_distance)
                for row, env in enumerate(chosen)
            ]
        )

    def close(self) -> None:
        """Disconnect from every world."""
        self._clients.close()
