"""Bullet's own damping: what PyBullet does to bodies unless it is told not to."""

import numpy as np
import pytest

from robolearn_envs import make_vec
from robolearn_envs.engines import make_engine
from robolearn_envs.robots import CartPole, DiffDriveRobot, UnicycleRobot

# Bullet 3.2.7, btMultiBody::computeAccelerationsArticulatedBodyAlgorithmMultiDof: a force of
# -c m v (1 + |v|) and a torque of -c I w (1 + |w|) on every link, with c = 0.04.


def once(robot, timestep, qpos, qvel, bullet_damping=True):
    """Return the velocities one physics step later, without any force. Shape (velocities,)."""
    engine = make_engine("bullet", robot, timestep, 1, bullet_damping=bullet_damping)
    engine.reset(np.arange(1), np.array([qpos]), np.array([qvel]), None)
    engine.step(np.zeros((1, len(robot.actuated_joints))))
    after = engine.qvel[0].copy()
    engine.close()
    return after


def test_a_gliding_disc_loses_speed_as_bullets_law_says():
    # |v| = 0.5 m/s: 1 - 0.02 * 0.04 * (1 + 0.5) = 0.9988; |w| = 1 rad/s: 1 - 0.02 * 0.04 * 2.
    after = once(UnicycleRobot(), 0.02, [0.0, 0.0, 0.0], [0.3, -0.4, 1.0])
    np.testing.assert_allclose(after, [0.3 * 0.9988, -0.4 * 0.9988, 0.9984], atol=1e-12)


def test_a_gliding_cart_is_slowed_with_its_pole():
    # Upright and not turning, both move at 2 m/s: 1 - 0.01 * 0.04 * (1 + 2) = 0.9988 for both.
    after = once(CartPole(), 0.01, [0.0, 0.0], [2.0, 0.0])
    np.testing.assert_allclose(after, [2 * 0.9988, 0.0], atol=1e-12)


def test_a_falling_rover_is_braked_by_the_air():
    # 1 m up at rest but for 0.5 m/s sideways: 0.5 * (1 - 0.01 * 0.04 * 1.5) = 0.4997.
    rover = DiffDriveRobot()
    qpos, qvel = (rows[0] for rows in rover.rest_state(np.zeros((1, 2)), np.zeros(1)))
    qpos[2], qvel[0] = 1.0, 0.5
    assert once(rover, 0.01, qpos, qvel)[0] == pytest.approx(0.4997, abs=1e-9)
    assert once(rover, 0.01, qpos, qvel, bullet_damping=False)[0] == pytest.approx(0.5, abs=1e-12)


def test_a_new_world_after_a_breakdown_is_damped_too():
    engine = make_engine("bullet", UnicycleRobot(), 0.02, 1, bullet_damping=True)
    engine.reset(np.arange(1), np.zeros((1, 3)), np.zeros((1, 3)), None)
    engine.step(np.full((1, 3), np.inf))
    assert engine.diverged.all()
    engine.reset(np.arange(1), np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0]]), None)
    engine.step(np.zeros((1, 3)))
    assert engine.qvel[0, 0] == pytest.approx(0.9984)  # 1 - 0.02 * 0.04 * (1 + 1)
    engine.close()


@pytest.mark.parametrize("task", ["CartPoleSwingUp", "NavLidar", "NavRover"])
def test_it_is_felt_in_every_task_and_off_unless_asked_for(task):
    moved = {}
    asked = {"usual": {}, "none": {"bullet_damping": False}, "on": {"bullet_damping": True}}
    for name, kwargs in asked.items():
        envs = make_vec(f"robolearn/{task}-v0", 2, engine="bullet", **kwargs)
        envs.reset(seed=3)
        for _ in range(20):
            envs.step(np.full(envs.action_space.shape, 0.5, dtype=np.float32))
        moved[name] = np.concatenate(envs.unwrapped.qpos_qvel(), axis=1)
        envs.close()
    np.testing.assert_array_equal(moved["usual"], moved["none"])
    gap = np.abs(moved["on"] - moved["none"]).max()
    # Most is felt by the rover's wheels: 0.04 * 5.5 kg * 0.5 * 1.5 m/s are 0.165 N, 0.0066 N m
    # each, and 0.04 * 0.00214 kg m^2 * 6.25 * 7.25 rad/s another 0.0039 N m. Its servo, of 0.088
    # N m s/rad, is slower by 0.12 rad/s then: 0.24 rad in 2 s.
    assert 1e-5 < gap < 0.24


@pytest.mark.parametrize(
    ("engine", "damping", "told"),
    [
        ("mujoco", True, "Engine 'mujoco' has no option 'bullet_damping': it is for bullet"),
        ("analytic", True, "Engine 'analytic' has no option 'bullet_damping': it is for bullet"),
        ("torch", True, "bullet_damping is for environments on the host, got engine='torch'"),
        ("bullet", "default", "bullet_damping must be True or False, got 'default'"),
        ("bullet", 0.04, "bullet_damping must be True or False, got 0.04"),
        ("mujoco", "off", "bullet_damping must be True or False, got 'off'"),
    ],
)
def test_it_is_bullets_alone_and_on_or_off(engine, damping, told):
    if engine == "torch":
        pytest.importorskip("torch")
    with pytest.raises(ValueError, match=told) as refusal:
        make_vec("robolearn/CartPoleBalance-v0", 1, engine=engine, bullet_damping=damping)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("engine", ["mujoco", "analytic"])
def test_where_there_is_none_it_may_be_switched_off(engine):
    make_vec("robolearn/CartPoleBalance-v0", 1, engine=engine, bullet_damping=False).close()
