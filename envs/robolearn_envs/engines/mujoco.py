# pyright: reportAttributeAccessIssue=false, reportMissingTypeStubs=false
"""MuJoCo: a batch of simulations on a C++ thread pool."""

import mujoco
import numpy as np
from mujoco.batch import Batch

from robolearn_envs.engines.base import EngineError, check_finite
from robolearn_envs.robots import CartPole, ControlSuiteCartPole

_FIELDS = ("body_mass", "body_ipos", "body_inertia")
_BROKEN = np.array(
    [
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    ],
    dtype=np.intp,
)


class MujocoEngine:
    """Steps N copies with ``mujoco.batch``; results do not depend on the number of threads."""

    def __init__(
        self,
        robot: CartPole | ControlSuiteCartPole,
        num_envs: int,
        timestep: float,
        *,
        threads: int = 0,
    ) -> None:
        """Compile the robot and start the thread pool.

        Args:
            robot: The robot; only a ``CartPole`` can be randomised.
            num_envs: N.
            timestep: Physics step in s.
            threads: Threads of the pool, 0 for one per core.
        """
        self._robot = robot
        model = mujoco.MjModel.from_xml_string(robot.to_mjcf(timestep))
        self._batch = Batch(model, num_envs, nthread=threads)
        self._qpos = self._batch.bind("qpos")
        self._qvel = self._batch.bind("qvel")
        self._dofs = [model.joint(name).dofadr[0] for name in robot.actuated]
        self._force = self._batch.bind("qfrc_applied")

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

    def _set_fields(self, ids: np.ndarray, factors: dict[str, np.ndarray]) -> None:
        if not isinstance(self._robot, CartPole):
            raise TypeError(f"{type(self._robot).__name__} cannot be randomised.")
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
        check_finite("MuJoCo", self._batch.state)
        self._batch.step()
        if self._batch.warning.any():
            self._raise_broken()

    def _raise_broken(self) -> None:
        counts = self._batch.warning[:, _BROKEN, 1]  # of (last info, number)
        broken = np.flatnonzero(counts.any(axis=1))
        if broken.size:
            raise EngineError(f"MuJoCo: the state of env {broken[0]} is no longer finite.")

    def close(self) -> None:
        """Nothing to release: the pool ends with the object."""
