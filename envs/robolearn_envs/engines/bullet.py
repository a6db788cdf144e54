# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false
"""Bullet: one private world per copy."""

from collections.abc import Mapping

import numpy as np

from robolearn_envs import sensors
from robolearn_envs.engines.base import Rows, not_finite
from robolearn_envs.engines.bullet_scenery import BulletScenery
from robolearn_envs.engines.bullet_world import BulletBody, BulletClients, pybullet
from robolearn_envs.engines.episodes import EpisodeLog
from robolearn_envs.robots import CartPole, DiscRobot, Rover

MAX_WORLDS = 512
"""Worlds in one engine: each takes some 28 MB, and one process can hold 1024 at the most."""


class BulletEngine:
    """Steps N copies one after the other, each in a physics client of its own.

    Bullet cannot move a link's center of mass after loading, so a copy whose pole is s times
    as long is simulated in units of s meters: positions, velocities, gravity and forces are
    divided by s, which leaves the equations of motion exactly the same. Only the part of
    Bullet's own damping that grows with the square of a speed differs then: by that factor s.
    """

    def __init__(
        self,
        robot: CartPole | DiscRobot | Rover,
        num_envs: int,
        timestep: float,
        *,
        damped: bool = False,
    ) -> None:
        """Load the robot into N worlds.

        Args:
            robot: What moves.
            num_envs: N.
            timestep: Physics step in s.
            damped: Leave Bullet's own damping on, which the robot does not have.

        Raises:
            ValueError: More copies than one engine may have.
            EngineError: More worlds than one process can hold.
        """
        if num_envs > MAX_WORLDS:
            raise ValueError(
                f"The bullet engine takes 28 MB per environment and at most {MAX_WORLDS} of them, "
                f"got num_envs={num_envs}. Use fewer environments or engine='mujoco'."
            )
        self._robot = robot
        base = 7 if robot.floating else 0
        self._qpos = np.zeros((num_envs, base + len(robot.joints)))
        self._qvel = np.zeros((num_envs, len(robot.joints) + (6 if robot.floating else 0)))
        self.broken = np.zeros(num_envs, dtype=np.bool_)
        widths = self._qpos.shape[1], self._qvel.shape[1], len(robot.actuated)
        self._episodes = EpisodeLog(num_envs, *widths)
        self._unit = np.ones((num_envs, 1))  # m, the length that is 1 in this copy's world
        self._power = np.array([1.0, 0.0]) if isinstance(robot, CartPole) else 0.0  # of m
        self._timestep = timestep
        self._damped = damped
        self._clients = BulletClients(self, num_envs)
        self._bodies = [self._build(client) for client in self._clients.ids]
        self._scenery: list[BulletScenery] = []
        if isinstance(robot, DiscRobot | Rover):
            self._scenery = [BulletScenery(client) for client in self._clients.ids]
        none = np.zeros((0, 3)), np.zeros((0, 4))
        self._obstacles = [none] * num_envs  # cylinders and boxes of each copy

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
        ids: np.ndarray,
        qpos: np.ndarray,
        qvel: np.ndarray,
        factors: dict[str, np.ndarray] | None,
    ) -> None:
        """Put copies ``ids`` into a state, with new physical fields if ``factors`` are given."""
        if factors is not None:
            self._set_fields(ids, factors)
        self._qpos[ids], self._qvel[ids] = qpos, qvel
        self._episodes.begin(ids, qpos, qvel)
        self.broken[ids] = False
        for env in ids:
            self._put(env, self._qpos[env], self._qvel[env])

    def _put(self, env: int, qpos: np.ndarray, qvel: np.ndarray) -> None:
        length = self._unit[env] ** self._power
        self._bodies[env].put(qpos / length, qvel / length)

    def _set_fields(self, ids: np.ndarray, factors: dict[str, np.ndarray]) -> None:
        robot = self._robot.scaled(factors)
        if "pole_length" in factors:
            self._unit[ids, 0] = factors["pole_length"]
        for row, env in enumerate(ids):
            unit = self._unit[env, 0]
            gravity = -self._robot.gravity / unit
            pybullet.setGravity(0, 0, gravity, physicsClientId=self._clients.ids[env])
            for link, inertial in robot.at(row).links().items():
                self._bodies[env].set_inertial(link, inertial, unit)

    def step(self, force: np.ndarray) -> None:
        """Advance every world by one physics step."""
        self._episodes.add(force)
        for env in range(len(self._bodies)):
            self._push(env, force[env])
        self._read()
        broken = not_finite(np.concatenate([self._qpos, self._qvel], axis=1))
        if broken is not None:
            self.broken |= broken
            for env in np.flatnonzero(broken).tolist():
                self._replace(env)

    def _push(self, env: int, force: np.ndarray) -> None:
        self._bodies[env].push((force / self._unit[env]).tolist())
        pybullet.stepSimulation(physicsClientId=self._clients.ids[env])

    def _read(self) -> None:
        for env, body in enumerate(self._bodies):
            body.read(self._qpos[env], self._qvel[env])
        length = self._unit**self._power
        self._qpos *= length
        self._qvel *= length

    def _replace(self, env: int) -> None:
        """Give a copy a new world, at rest: nothing mends a NaN that is in one."""
        client = self._clients.replace(env)
        self._bodies[env] = self._build(client)
        if self._scenery:
            self._scenery[env] = BulletScenery(client)
            self._scenery[env].furnish(*self._obstacles[env])
        self._qpos[env], self._qvel[env] = 0.0, 0.0

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return how each episode began and what was done since.

        Bullet keeps contacts and impulses that no one can read or write: only a world that lives
        through the same again gets into the same state.
        """
        return self._episodes.snapshot()

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Live through the episodes of a snapshot again."""
        self._episodes.restore(snapshot)
        for env in range(len(self._bodies)):
            self._put(env, self._episodes.qpos[env], self._episodes.qvel[env])
            for force in self._episodes.since(env):
                self._push(env, force)
        self._read()

    def furnish(self, ids: Rows, cylinders: np.ndarray, boxes: np.ndarray) -> None:
        """Put obstacles around copies ``ids``."""
        for row, env in enumerate(np.arange(len(self._scenery))[ids]):
            self._obstacles[env] = cylinders[row], boxes[row]
            self._scenery[env].furnish(*self._obstacles[env])

    def move(self, cylinders: np.ndarray) -> None:
        """Put every copy's cylinders elsewhere."""
        for scenery, row in zip(self._scenery, cylinders, strict=True):
            scenery.move(row)

    def scan(self, ids: Rows, xy: np.ndarray, heading: np.ndarray) -> np.ndarray:
        """Return lidar ranges of copies ``ids``. Shape (n, RAYS), m."""
        directions = np.stack(sensors.lidar_directions(heading), axis=-1)
        chosen = np.arange(len(self._scenery))[ids]
        ranges = [self._scenery[e].scan(xy[row], directions[row]) for row, e in enumerate(chosen)]
        return np.array(ranges)

    def depth(self, ids: Rows, xy: np.ndarray, heading: np.ndarray) -> np.ndarray:
        """Return depth images of copies ``ids``. Shape (n, PIXELS, PIXELS), m."""
        chosen = np.arange(len(self._scenery))[ids]
        return np.stack(
            [self._scenery[e].depth(xy[row], heading[row]) for row, e in enumerate(chosen)]
        )

    def close(self) -> None:
        """Disconnect from every world."""
        self._clients.close()
