# pyright: reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportMissingImports=false
"""MuJoCo Warp: MuJoCo's equations in float32 kernels, whose arrays torch shares without copies."""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mujoco
import mujoco_warp
import torch
import warp
from torch import Tensor

from robolearn_envs.core.backend import EnvIndex
from robolearn_envs.engines.mujoco import arena_mjcf
from robolearn_envs.robots import Robot
from robolearn_envs.sensors.raycast import raycast

_FIELDS = (
    "body_mass",
    "body_ipos",
    "body_inertia",
    "geom_friction",
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
)
"""What environments have their own of: four that are set, and what ``set_const`` derives."""
_STATE = ("qpos", "qvel", "qacc_warmstart")
_ITERATIONS = 10
"""Most iterations of the contact solver. Of 384,000 steps of rovers under random commands 99 % took
one or two, none more than seven."""


class WarpEngine:
    """Steps N environments on a CPU or a GPU; its state is tensors that stay where they are.

    On a GPU all work goes to torch's current stream and nothing waits for it, so ``step``,
    ``reset`` and ``raycast`` may be part of a ``torch.cuda.graph``.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        timestep: float,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        """Compile the robot and the kernels: half a minute the first time, then from a cache.

        Args:
            robot: The robot; one that drives gets an arena without obstacles around it.
            num_envs: N.
            timestep: Physics step in s.
            device: Where to compute.
        """
        if warp.config.log_level == warp.LOG_INFO:  # Warp's default is to tell of every kernel
            warp.config.log_level = warp.LOG_WARNING
        warp.init()
        self._robot = robot
        self._device = torch.device(device)
        world = arena_mjcf(0, 0) if robot.collision_radius is not None else None
        model = mujoco.MjModel.from_xml_string(robot.to_mjcf(timestep, world))
        self._bodies = {link: model.body(link).id for link in robot.link_inertials()}
        self._geoms = {
            link: range(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
            for link in robot.link_frictions()
            for body in (model.body(link),)
        }
        with self._on_torch_stream():
            self._build(model, num_envs)
            dofs = [int(model.joint(name).dofadr[0]) for name in robot.actuated_joints]
            self._dofs = torch.tensor(dofs, device=self._device)
            self.diverged = torch.zeros(num_envs, dtype=torch.bool, device=self._device)
            self._cylinders = torch.zeros((num_envs, 0, 3), device=self._device)
            self._boxes = torch.zeros((num_envs, 0, 4), device=self._device)
            self._load_kernels()

    def _build(self, model: mujoco.MjModel, num_envs: int) -> None:
        """Put model and state on the device, and share them with torch."""
        # Balls on a floor: each touches in one point at most.
        touching = model.geom_conaffinity > 0
        rows = int(model.geom_condim[touching].sum())
        self._model = mujoco_warp.put_model(model, batch_sizes=dict.fromkeys(_FIELDS, num_envs))
        self._data = mujoco_warp.make_data(model, num_envs, nconmax=int(touching.sum()), njmax=rows)
        self._model.opt.iterations = min(model.opt.iterations, _ITERATIONS)
        # Iterating until all have converged needs a host that waits for a GPU to tell.
        self._model.opt.graph_conditional = self._device.type == "cpu"
        self._qpos, self._qvel, self._warm = (
            warp.to_torch(getattr(self._data, name)) for name in _STATE
        )
        self._qacc = warp.to_torch(self._data.qacc)
        self._applied = warp.to_torch(self._data.qfrc_applied)
        self._fields = {name: warp.to_torch(getattr(self._model, name)) for name in _FIELDS}
        self._rest = self._qpos[0].clone()

    def _load_kernels(self) -> None:
        """Compile or load what ``step`` and ``replace`` launch; a graph's capture cannot."""
        mujoco_warp.step(self._model, self._data)
        self._put(torch.ones_like(self.diverged), self._rest, 0.0)
        self._derive()  # in float32 from the outset, so that no later call changes a bit

    @contextmanager
    def _on_torch_stream(self) -> Iterator[None]:
        """Launch Warp's kernels where torch launches its own, and into the graph it captures."""
        if self._device.type == "cpu":
            with warp.ScopedDevice("cpu"):
                yield
            return
        stream = _shared(torch.cuda.current_stream(self._device))
        with warp.ScopedStream(stream, sync_enter=False):
            if not stream.is_capturing:
                yield
                return
            # Tells Warp that the buffers of a step are the graph's to keep.
            with warp.ScopedCapture(stream=stream, external=True, force_module_load=False):
                yield

    @property
    def qpos(self) -> Tensor:
        """Joint positions; live, always the same storage. Shape (N, positions), float32."""
        return self._qpos

    @property
    def qvel(self) -> Tensor:
        """Joint velocities; live, always the same storage. Shape (N, velocities), float32."""
        return self._qvel

    def step(self, force: Tensor) -> None:
        """Advance by one physics step.

        Args:
            force: Force on each actuated joint, N or N m. Shape (N, actuated), float32.
        """
        self._applied.index_copy_(1, self._dofs, force)
        with self._on_torch_stream():
            mujoco_warp.step(self._model, self._data)
        self._put_diverged_at_rest()

    def _put_diverged_at_rest(self) -> None:
        """Flag environments whose state is bad, and put them into the model's initial state."""
        worst = torch.cat([self._qpos, self._qvel, self._qacc], dim=1).abs().amax(dim=1)
        diverged = ~(worst <= mujoco.mjMAXVAL)  # MuJoCo's own rule; a NaN is not
        self.diverged |= diverged
        self._put(diverged, self._rest, 0.0)

    def _put(self, mask: Tensor, qpos: Tensor, qvel: Tensor | float) -> None:
        """Put the environments of a mask into a state, with nothing left of the one before."""
        rows = mask[:, None]
        self._qpos.copy_(torch.where(rows, qpos, self._qpos))
        self._qvel.copy_(torch.where(rows, qvel, self._qvel))
        self._warm.masked_fill_(rows, 0.0)

    def reset(
        self, rows: EnvIndex, qpos: Tensor, qvel: Tensor, field_scales: Mapping[str, Tensor] | None
    ) -> None:
        """Put the environments of a mask into a state; arrays have rows for all.

        Args:
            rows: Shape (N,), bool.
            qpos: Joint positions. Shape (N, positions).
            qvel: Joint velocities. Shape (N, velocities).
            field_scales: Factors of the robot's randomized fields, by name. Shapes (N,).
        """
        if field_scales is not None:
            self._set_fields(rows, field_scales)
        self._put(rows, qpos, qvel)
        self.diverged &= ~rows

    def _set_fields(self, mask: Tensor, field_scales: Mapping[str, Tensor]) -> None:
        mass, place, inertia, friction = (self._fields[name] for name in _FIELDS[:4])
        robot = self._robot.with_scaled_fields(field_scales)
        if "friction" in field_scales:
            for link, coefficient in robot.link_frictions().items():
                for geom in self._geoms[link]:
                    column = friction[:, geom, 0]
                    column.copy_(torch.where(mask, coefficient, column))
        for link, inertial in robot.link_inertials().items():
            body = self._bodies[link]
            for field, number in (
                (mass[:, body], inertial.mass),
                (place[:, body, 2], inertial.com_z),
                (inertia[:, body, 0], inertial.ixx),
                (inertia[:, body, 1], inertial.ixx),
                (inertia[:, body, 2], inertial.izz),
            ):
                field.copy_(torch.where(mask, number, field))
        with self._on_torch_stream():
            self._derive()

    def _derive(self) -> None:
        """Recompute what depends on masses and inertias."""
        mujoco_warp.set_const(self._model, self._data, restore=False)

    def set_obstacles(self, rows: EnvIndex, cylinders: Tensor, boxes: Tensor) -> None:
        """Put obstacles around the environments; only rays meet them.

        Args:
            rows: All environments, ``slice(None)``.
            cylinders: x, y, radius, further columns ignored. Shape (N, K, 3 or more), m.
            boxes: x, y and half extents. Shape (N, B, 4), m.
        """
        self._cylinders = _kept_in(self._cylinders, cylinders[..., :3])
        self._boxes = _kept_in(self._boxes, boxes)

    def set_obstacle_positions(self, cylinders: Tensor) -> None:
        """Move every environment's cylinders; their radii stay. Shape (N, K, 3 or more), m."""
        self._cylinders[..., :2] = cylinders[..., :2]

    def raycast(
        self, rows: EnvIndex, origin: Tensor, direction: Tensor, max_distance: float
    ) -> Tensor:
        """Return how far rays go, in closed form. Shape (N, R)."""
        return raycast(origin, direction, self._cylinders, self._boxes, max_distance)

    def get_state(self) -> dict[str, Tensor]:
        """Return copies of the state, the solver's warm start and the physical fields."""
        return {name: tensor.clone() for name, tensor in self._kept().items()}

    def set_state(self, get_state: Mapping[str, Tensor]) -> None:
        """Go back to a state of an engine like this one; physical fields are part of it."""
        for name, tensor in self._kept().items():
            tensor.copy_(torch.as_tensor(get_state[name]))

    def _kept(self) -> dict[str, Tensor]:
        """Return all that decides on how the motion goes on: views."""
        state = dict(zip(_STATE, (self._qpos, self._qvel, self._warm), strict=True))
        return {**state, **self._fields, "diverged": self.diverged}

    def close(self) -> None:
        """Nothing to release: the arrays end with the object."""


@functools.cache
def _shared(stream: torch.cuda.Stream) -> warp.Stream:
    """Return Warp's name for one of torch's streams, which live as long as the process."""
    return warp.stream_from_torch(stream)


def _kept_in(kept: Tensor, given: Tensor) -> Tensor:
    """Return a copy of ``given``, in the storage of ``kept`` where it fits."""
    if kept.shape != given.shape or kept.dtype != given.dtype:
        return given.clone()
    return kept.copy_(given)
