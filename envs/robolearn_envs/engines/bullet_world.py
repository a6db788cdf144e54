# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false
"""A Bullet world of one's own: a physics client and the robot in it."""

import contextlib
import gc
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.engines.base import SimulationError
from robolearn_envs.robots import Inertial, Robot


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


RAY, OBSTACLE, _FLOOR = 1, 2, 64
"""Collision groups: rays (Bullet puts them into the first), what they meet, and a robot with its
floor. PyBullet lets two bodies touch where either's group is in the other's mask."""
_AWAY = 10.0
"""Height in m at which a robot touches nothing."""


MAX_CLIENTS = 1024
"""Physics clients that one process can hold; a constant of Bullet's."""
_open_clients: set[int] = set()  # the clients of :class:`BulletClients` in this process


class BulletClients:
    """Physics clients that are disconnected when their owner is closed or garbage-collected."""

    def __init__(self, owner: object, count: int) -> None:
        """Connect ``count`` clients.

        Args:
            owner: The object that steps or draws in them.
            count: Number of clients.

        Raises:
            SimulationError: The process would hold more than ``MAX_CLIENTS``.
        """
        self.ids: list[int] = []
        self.close = weakref.finalize(owner, _disconnect, self.ids)
        self.close.atexit = False  # the end of the process frees them
        if len(_open_clients) + count > MAX_CLIENTS:
            gc.collect()  # environments in reference cycles hold their clients until then
        if len(_open_clients) + count > MAX_CLIENTS:
            raise SimulationError(
                f"One process can hold {MAX_CLIENTS} Bullet worlds. {len(_open_clients)} are open, "
                f"got {count} more. Close unused environments, or use engine='mujoco'."
            )
        for _ in range(count):
            self.ids.append(_connect())

    def replace(self, index: int) -> int:
        """Disconnect one client, connect another in its place, and return its id."""
        _disconnect([self.ids[index]])
        self.ids[index] = _connect()
        return self.ids[index]


def _connect() -> int:
    """Return a new physics client.

    Raises:
        SimulationError: Bullet refused; other code of this process may hold clients, too.
    """
    client = pybullet.connect(pybullet.DIRECT)
    if client < 0:
        raise SimulationError("Bullet refused another physics client. Close unused environments.")
    _open_clients.add(client)
    return client


def _disconnect(clients: list[int]) -> None:
    """Disconnect clients, and remove them from the list."""
    while clients:
        client = clients.pop()
        _open_clients.discard(client)
        if pybullet.isConnected(client):
            pybullet.disconnect(client)


def load_urdf(urdf: str, client: int, *, fixed: bool = True) -> int:
    """Load URDF text into a physics client and return the body's id."""
    flags = pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_IGNORE_VISUAL_SHAPES
    with tempfile.NamedTemporaryFile("w", suffix=".urdf") as file:
        file.write(urdf)
        file.flush()
        return pybullet.loadURDF(file.name, useFixedBase=fixed, flags=flags, physicsClientId=client)


class BulletBody:
    """A robot in a client, with everything switched off that the robot does not have.

    Unless it is ``damped``: then every link keeps the drag that Bullet gives it by default, a force
    of -c m v (1 + |v|) and a torque of -c I w (1 + |w|) with c = 0.04, as if in a thin liquid.
    """

    def __init__(self, robot: Robot, client: int, *, damped: bool) -> None:
        """Load the robot; one with a free base gets a floor."""
        self._client = client
        self._floating = robot.floating_base
        urdf = robot.to_urdf()
        assert urdf is not None
        self.id = load_urdf(urdf, client, fixed=not robot.floating_base)
        count = pybullet.getNumJoints(self.id, physicsClientId=client)
        facts = [pybullet.getJointInfo(self.id, j, physicsClientId=client) for j in range(count)]
        names = [fact[1].decode() for fact in facts]
        self._joints = [names.index(name) for name in robot.joint_names]
        self._actuated = [names.index(name) for name in robot.actuated_joints]
        self._links = {fact[12].decode(): link for link, fact in enumerate(facts)}
        for joint in self._joints:
            pybullet.setJointMotorControl2(
                self.id, joint, pybullet.VELOCITY_CONTROL, force=0, physicsClientId=client
            )
        axes = {fact[1].decode(): fact[13] for fact in facts}
        for joint, armature in robot.joint_armatures().items():
            self._add_armature(names.index(joint), np.array(axes[joint]) * armature)
        if not damped:
            self._disable_damping(count)
        if robot.floating_base:
            self._put_on_floor(robot, count)

    def _disable_damping(self, links: int) -> None:
        for link in range(-1, links):
            pybullet.changeDynamics(
                self.id,
                link,
                linearDamping=0,
                angularDamping=0,
                jointDamping=0,
                physicsClientId=self._client,
            )

    def _add_armature(self, link: int, armature: np.ndarray) -> None:
        """Add a rotor's inertia to a link. Shape (3,), about its axes, kg m^2."""
        inertia = pybullet.getDynamicsInfo(self.id, link, physicsClientId=self._client)[2]
        pybullet.changeDynamics(
            self.id,
            link,
            localInertiaDiagonal=(np.array(inertia) + np.abs(armature)).tolist(),
            physicsClientId=self._client,
        )

    def _put_on_floor(self, robot: Robot, links: int) -> None:
        client = self._client
        plane = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
        floor = pybullet.createMultiBody(0, plane, physicsClientId=client)
        pybullet.changeDynamics(floor, -1, lateralFriction=1, physicsClientId=client)
        pybullet.setCollisionFilterGroupMask(floor, -1, _FLOOR, _FLOOR, physicsClientId=client)
        for link in range(-1, links):
            pybullet.setCollisionFilterGroupMask(
                self.id, link, _FLOOR, _FLOOR, physicsClientId=client
            )
            pybullet.changeDynamics(
                self.id,
                link,
                lateralFriction=0.0,
                rollingFriction=0,
                spinningFriction=0,
                restitution=0,
                physicsClientId=client,
            )
        self.set_frictions(robot.link_frictions())
        # In a call of its own: PyBullet gives what comes with it to the base, whatever the link.
        pybullet.changeDynamics(
            self.id,
            -1,
            activationState=pybullet.ACTIVATION_STATE_DISABLE_SLEEPING,
            physicsClientId=client,
        )

    def set_inertial(self, link: str, inertial: Inertial, unit: float) -> None:
        """Give a link other mass properties, in a world whose unit of length is ``unit`` m."""
        ixx, izz = inertial.ixx / unit**2, inertial.izz / unit**2
        pybullet.changeDynamics(
            self.id,
            self._links.get(link, -1),  # the base is not among them
            mass=inertial.mass,
            localInertiaDiagonal=(ixx, ixx, izz),
            physicsClientId=self._client,
        )

    def set_frictions(self, frictions: Mapping[str, Array]) -> None:
        """Set the coefficients of friction of links."""
        for link, friction in frictions.items():
            pybullet.changeDynamics(
                self.id,
                self._links.get(link, -1),
                lateralFriction=float(friction),
                physicsClientId=self._client,
            )

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put the robot into a state; the coordinates are those of :class:`Robot`."""
        client = self._client
        if self._floating:
            w, x, y, z = qpos[3:7]
            # Bullet keeps contacts, with their forces, while a body is near: up there it has none.
            pybullet.resetBasePositionAndOrientation(
                self.id, (0, 0, _AWAY), (0, 0, 0, 1), physicsClientId=client
            )
            pybullet.performCollisionDetection(physicsClientId=client)
            pybullet.resetBasePositionAndOrientation(
                self.id, qpos[:3], (x, y, z, w), physicsClientId=client
            )
            pybullet.resetBaseVelocity(
                self.id, qvel[:3], _rotate(qpos[3:7], qvel[3:6]), physicsClientId=client
            )
            qpos, qvel = qpos[7:], qvel[6:]
        for joint, position, velocity in zip(self._joints, qpos, qvel, strict=True):
            pybullet.resetJointState(self.id, joint, position, velocity, physicsClientId=client)

    def apply_torques(self, forces: Sequence[float]) -> None:
        """Apply forces to the actuated joints in the next step."""
        for joint, force in zip(self._actuated, forces, strict=True):
            pybullet.setJointMotorControl2(
                self.id,
                joint,
                pybullet.TORQUE_CONTROL,
                force=force,
                physicsClientId=self._client,
            )

    def get_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Write the robot's coordinates into a row each."""
        client = self._client
        joints = pybullet.getJointStates(self.id, self._joints, physicsClientId=client)
        if self._floating:
            place, (x, y, z, w) = pybullet.getBasePositionAndOrientation(
                self.id, physicsClientId=client
            )
            velocity, spin = pybullet.getBaseVelocity(self.id, physicsClientId=client)
            qpos[:7] = *place, w, x, y, z
            qvel[:6] = *velocity, *_rotate(np.array([w, -x, -y, -z]), np.array(spin))
            qpos, qvel = qpos[7:], qvel[6:]
        qpos[:] = [state[0] for state in joints]
        qvel[:] = [state[1] for state in joints]


def _rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return a vector rotated by a unit quaternion (w first). Shape (3,)."""
    axis = quaternion[1:]
    across = 2 * np.cross(axis, vector)
    return vector + quaternion[0] * across + np.cross(axis, across)
