# pyright: reportAttributeAccessIssue=false, reportMissingTypeStubs=false
"""MuJoCo: a batch of simulations on a C++ thread pool."""

from collections.abc import Mapping

import mujoco
import numpy as np
from mujoco.batch import Batch

from robolearn_envs import sensors
from robolearn_envs.arenas.custom import MOST
from robolearn_envs.arenas.grid import HALF
from robolearn_envs.arenas.layouts import HEIGHT, PARKED
from robolearn_envs.engines.base import Rows, not_finite
from robolearn_envs.robots import CartPole, DiscRobot, Robot, Rover
from robolearn_envs.stage import ARENA_WORLD

_FIELDS = ("body_mass", "body_ipos", "body_inertia")
_BROKEN = np.array(
    [
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    ],
    dtype=np.intp,
)


_SEEN = np.array([1, 0, 0, 0, 0, 0], dtype=np.uint8)
"""Geom groups sensors see: walls, floor and obstacles, but not the robot."""


def arena(cylinders: int, boxes: int) -> str:
    """Return floor, walls, and parked obstacles to be moved and sized, as MJCF."""
    low, far = HEIGHT / 2, HALF + 0.1
    walls = [(far, 0, 0.1, far + 0.1), (-far, 0, 0.1, far + 0.1)]
    walls += [(0, far, far + 0.1, 0.1), (0, -far, far + 0.1, 0.1)]
    lines = [
        f'    <geom type="box" pos="{x} {y} {low}" size="{w} {h} {low}"/>\n' for x, y, w, h in walls
    ]
    for kind, count, size in (("cylinder", cylinders, ""), ("box", boxes, " 0.01")):
        shape = f'<geom type="{kind}" size="0.01{size} {low}"/>'
        place = f'mocap="true" pos="{PARKED} {PARKED} {low}"'
        lines += [f'    <body name="{kind}{k}" {place}>{shape}</body>\n' for k in range(count)]
    return ARENA_WORLD + "".join(lines)


class MujocoEngine:
    """Steps N copies with ``mujoco.batch``; results do not depend on the number of threads."""

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        timestep: float,
        *,
        threads: int = 0,
    ) -> None:
        """Compile the robot and start the thread pool.

        Args:
            robot: The robot; one that drives gets an arena around it.
            num_envs: N.
            timestep: Physics step in s.
            threads: Threads of the pool, 0 for one per core.
        """
        self._robot = robot
        drives = isinstance(robot, DiscRobot | Rover)
        xml = robot.to_mjcf(timestep, arena(MOST, MOST)) if drives else robot.to_mjcf(timestep)
        model = mujoco.MjModel.from_xml_string(xml)
        self._batch = Batch(model, num_envs, nthread=threads)
        self._qpos = self._batch.bind("qpos")
        self._qvel = self._batch.bind("qvel")
        self.broken = np.zeros(num_envs, dtype=np.bool_)
        self._dofs = [model.joint(name).dofadr[0] for name in robot.actuated]
        self._force = self._batch.bind("qfrc_applied")
        if drives:
            self._obstacles = self._batch.bind("mocap_pos")  # cylinders, then boxes
            self._sizes = self._batch.expand("geom_size")
            first = model.body("cylinder0").geomadr[0]
            self._shapes = slice(first, first + 2 * MOST)

    @property
    def qpos(self) -> np.ndarray:
        """Joint positions. Shape (N, joints)."""
        return self._qpos

    @property
    def qvel(self) -> np.ndarray:
        """Joint velocities. Shape (N, joints)."""
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
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[ids], self._qvel[ids] = qpos, qvel
        self.broken[ids] = False

    def _set_fields(self, ids: np.ndarray, factors: dict[str, np.ndarray]) -> None:
        if not isinstance(self._robot, CartPole | DiscRobot | Rover):
            raise TypeError(f"{type(self._robot).__name__} cannot be randomized.")
        fields = {name: self._batch.expand(name) for name in _FIELDS}
        for link, inertial in self._robot.scaled(factors).links().items():
            body = self._batch.model.body(link).id
            fields["body_mass"][ids, body] = inertial.mass
            fields["body_ipos"][ids, body, 2] = inertial.com
            fields["body_inertia"][ids, body, :2] = np.asarray(inertial.inertia)[:, None]
            fields["body_inertia"][ids, body, 2] = inertial.spin
        self._batch.set_const(ids)

    def step(self, force: np.ndarray) -> None:
        """Advance by one physics step."""
        for column, dof in enumerate(self._dofs):
            self._force[:, dof] = force[:, column]
        # Positions, velocities and forces, before MuJoCo sees a NaN: it would silently reset
        # the copy and write to MUJOCO_LOG.TXT in the working directory.
        broken = not_finite(self._batch.state)
        if broken is not None:
            self._put_at_rest(broken)
        self._batch.step()
        if self._batch.warning.any():
            counts = self._batch.warning[:, _BROKEN, 1]  # of (last info, number)
            broken = counts.any(axis=1)
            if broken.any():
                self._put_at_rest(broken)

    def _put_at_rest(self, broken: np.ndarray) -> None:
        self._batch.reset(np.flatnonzero(broken), stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.broken |= broken

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return MuJoCo's integration state: warm start, forces and obstacles are part of it."""
        return {"state": self._batch.state.copy()}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Go back to a snapshot."""
        self._batch.state[:] = snapshot["state"]

    def furnish(self, ids: Rows, cylinders: np.ndarray, boxes: np.ndarray) -> None:
        """Put obstacles around copies ``ids``: the first of the model's, the others are parked."""
        posts, walls = cylinders.shape[1], boxes.shape[1]
        places = self._obstacles[ids]
        places[..., :2] = PARKED
        places[:, :posts, :2] = cylinders[..., :2]
        places[:, MOST : MOST + walls, :2] = boxes[..., :2]
        self._obstacles[ids] = places
        sizes = self._sizes[ids, self._shapes]
        sizes[:, :posts, 0] = cylinders[..., 2]
        sizes[:, MOST : MOST + walls, :2] = boxes[..., 2:]
        self._sizes[ids, self._shapes] = sizes

    def move(self, cylinders: np.ndarray) -> None:
        """Put every copy's cylinders elsewhere."""
        self._obstacles[:, : cylinders.shape[1], :2] = cylinders[..., :2]

    def scan(self, ids: Rows, xy: np.ndarray, heading: np.ndarray) -> np.ndarray:
        """Return lidar ranges of copies ``ids``. Shape (n, RAYS), m."""
        dx, dy = sensors.lidar_directions(heading)
        directions = np.stack([dx, dy, np.zeros_like(dx)], axis=-1)
        return self._cast(ids, xy, sensors.LIDAR_HEIGHT, directions)

    def depth(self, ids: Rows, xy: np.ndarray, heading: np.ndarray) -> np.ndarray:
        """Return depth images of copies ``ids``, a ray per pixel: exact, and needs no OpenGL."""
        directions = sensors.camera_directions(heading)
        flat = directions.reshape(len(xy), -1, 3)
        return self._cast(ids, xy, sensors.CAMERA_HEIGHT, flat).reshape(directions.shape[:-1])

    def _cast(self, ids: Rows, xy: np.ndarray, height: float, directions: np.ndarray) -> np.ndarray:
        """Return how far rays go, in lengths of their directions. Shape (n, R)."""
        origin = np.concatenate([xy, np.full((len(xy), 1), height)], axis=-1)[:, None]
        chosen = None if isinstance(ids, slice) else ids
        distance, _ = self._batch.ray(origin, directions, geomgroup=_SEEN, ids=chosen)
        return np.where((distance < 0) | (distance > sensors.REACH), sensors.REACH, distance)

    def close(self) -> None:
        """Nothing to release: the pool ends with the object."""
