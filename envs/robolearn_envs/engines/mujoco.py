# pyright: reportAttributeAccessIssue=false, reportMissingTypeStubs=false
"""MuJoCo: a batch of simulations on a C++ thread pool."""

from collections.abc import Mapping

import mujoco
import numpy as np
from mujoco.batch import Batch

from robolearn_envs.core.backend import EnvIndex
from robolearn_envs.engines.base import non_finite_envs
from robolearn_envs.maps.custom import MAX_OBSTACLES
from robolearn_envs.maps.grid import ARENA_HALF_SIZE
from robolearn_envs.maps.obstacles import HEIGHT, PAD_POSITION
from robolearn_envs.robots import Robot
from robolearn_envs.scene_style import ARENA_WORLD

_FIELDS = ("body_mass", "body_ipos", "body_inertia")
_BAD_STATE = np.array(
    [
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    ],
    dtype=np.intp,
)


_SENSOR_GEOM_GROUPS = np.array([1, 0, 0, 0, 0, 0], dtype=np.uint8)
"""Geom groups sensors see: walls, floor and obstacles, but not the robot."""


def arena_mjcf(cylinders: int, boxes: int) -> str:
    """Return floor, walls, and obstacles to be moved and sized, as MJCF."""
    low, far = HEIGHT / 2, ARENA_HALF_SIZE + 0.1
    walls = [(far, 0, 0.1, far + 0.1), (-far, 0, 0.1, far + 0.1)]
    walls += [(0, far, far + 0.1, 0.1), (0, -far, far + 0.1, 0.1)]
    lines = [
        f'    <geom type="box" pos="{x} {y} {low}" size="{w} {h} {low}"/>\n' for x, y, w, h in walls
    ]
    for kind, count, size in (("cylinder", cylinders, ""), ("box", boxes, " 0.01")):
        shape = f'<geom type="{kind}" size="0.01{size} {low}"/>'
        place = f'mocap="true" pos="{PAD_POSITION} {PAD_POSITION} {low}"'
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
        num_threads: int = 0,
    ) -> None:
        """Compile the robot and start the thread pool.

        Args:
            robot: The robot; one that drives gets an arena around it.
            num_envs: N.
            timestep: Physics step in s.
            num_threads: Threads of the pool, 0 for one per core.
        """
        self._robot = robot
        is_mobile = robot.collision_radius is not None
        world = arena_mjcf(MAX_OBSTACLES, MAX_OBSTACLES) if is_mobile else None
        model = mujoco.MjModel.from_xml_string(robot.to_mjcf(timestep, world))
        self._batch = Batch(model, num_envs, nthread=num_threads)
        self._qpos = self._batch.bind("qpos")
        self._qvel = self._batch.bind("qvel")
        self.diverged = np.zeros(num_envs, dtype=np.bool_)
        self._dofs = [model.joint(name).dofadr[0] for name in robot.actuated_joints]
        self._force = self._batch.bind("qfrc_applied")
        if is_mobile:
            self._obstacles = self._batch.bind("mocap_pos")  # cylinders, then boxes
            self._sizes = self._batch.expand("geom_size")
            first = model.body("cylinder0").geomadr[0]
            self._shapes = slice(first, first + 2 * MAX_OBSTACLES)

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
        rows: np.ndarray,
        qpos: np.ndarray,
        qvel: np.ndarray,
        field_scales: Mapping[str, np.ndarray] | None,
    ) -> None:
        """Put some environments into a state, with other physical fields if there are scales."""
        if field_scales is not None:
            self._set_fields(rows, field_scales)
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[rows], self._qvel[rows] = qpos, qvel
        self.diverged[rows] = False

    def _set_fields(self, rows: np.ndarray, field_scales: Mapping[str, np.ndarray]) -> None:
        fields = {name: self._batch.expand(name) for name in _FIELDS}
        robot, model = self._robot.with_scaled_fields(field_scales), self._batch.model
        for link, inertial in robot.link_inertials().items():
            body = model.body(link).id
            fields["body_mass"][rows, body] = inertial.mass
            fields["body_ipos"][rows, body, 2] = inertial.com_z
            fields["body_inertia"][rows, body, :2] = np.asarray(inertial.ixx)[..., None]
            fields["body_inertia"][rows, body, 2] = inertial.izz
        if "friction" in field_scales:
            friction = self._batch.expand("geom_friction")
            for link, coefficient in robot.link_frictions().items():
                body = model.body(link).id
                for geom in range(
                    model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]
                ):
                    friction[rows, geom, 0] = coefficient
        self._batch.set_const(rows)

    def step(self, force: np.ndarray) -> None:
        """Advance by one physics step."""
        for column, dof in enumerate(self._dofs):
            self._force[:, dof] = force[:, column]
        # Positions, velocities and forces, before MuJoCo sees a NaN: it would silently reset
        # the environment.
        diverged = non_finite_envs(self._batch.state)
        if diverged is not None:
            self._put_at_rest(diverged)
        # MuJoCo's warnings would be printed, and written to MUJOCO_LOG.TXT in the working folder.
        mujoco.set_mju_user_warning(_ignore)
        try:
            self._batch.step()
        finally:
            mujoco.set_mju_user_warning(None)
        if self._batch.warning.any():
            counts = self._batch.warning[:, _BAD_STATE, 1]  # of (last info, number)
            diverged = counts.any(axis=1)
            if diverged.any():
                self._put_at_rest(diverged)

    def _put_at_rest(self, diverged: np.ndarray) -> None:
        self._batch.reset(np.flatnonzero(diverged), stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.diverged |= diverged

    def get_state(self) -> dict[str, np.ndarray]:
        """Return MuJoCo's integration state: warm start, forces and obstacles are part of it."""
        return {"state": self._batch.state.copy()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a state."""
        self._batch.state[:] = state["state"]

    def set_obstacles(self, rows: EnvIndex, cylinders: np.ndarray, boxes: np.ndarray) -> None:
        """Put obstacles around some environments; those of the model left over are padding."""
        posts, walls = cylinders.shape[1], boxes.shape[1]
        places = self._obstacles[rows]
        places[..., :2] = PAD_POSITION
        places[:, :posts, :2] = cylinders[..., :2]
        places[:, MAX_OBSTACLES : MAX_OBSTACLES + walls, :2] = boxes[..., :2]
        self._obstacles[rows] = places
        sizes = self._sizes[rows, self._shapes]
        sizes[:, :posts, 0] = cylinders[..., 2]
        sizes[:, MAX_OBSTACLES : MAX_OBSTACLES + walls, :2] = boxes[..., 2:]
        self._sizes[rows, self._shapes] = sizes

    def set_obstacle_positions(self, cylinders: np.ndarray) -> None:
        """Move every environment's cylinders."""
        self._obstacles[:, : cylinders.shape[1], :2] = cylinders[..., :2]

    def raycast(
        self, rows: EnvIndex, origin: np.ndarray, direction: np.ndarray, max_distance: float
    ) -> np.ndarray:
        """Return how far rays go. Shape (n, R)."""
        if direction.shape[-1] == 2:
            direction = np.concatenate([direction, np.zeros_like(direction[..., :1])], axis=-1)
        chosen = None if isinstance(rows, slice) else rows
        distance, _ = self._batch.ray(
            origin[:, None], direction, geomgroup=_SENSOR_GEOM_GROUPS, ids=chosen
        )
        return np.where((distance < 0) | (distance > max_distance), max_distance, distance)

    def close(self) -> None:
        """Nothing to release: the pool ends with the object."""


def _ignore(message: str) -> None:
    """Take a warning of MuJoCo's, which ``warning`` counts as well."""
