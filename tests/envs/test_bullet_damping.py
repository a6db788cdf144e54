"""Bullet's own damping: what PyBullet does to bodies unless it is told not to."""

import numpy as np
import pytest

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn_envs import make_vec
from robolearn_envs.engines import make_engine
from robolearn_envs.robots import CartPole, DiscRobot, Rover

# Bullet 3.2.7, btMultiBody::computeAccelerationsArticulatedBodyAlgorithmMultiDof: a force of
# -c m v (1 + |v|) and a torque of -c I w (1 + |w|) on every link, with c = 0.04.


def once(robot, timestep, qpos, qvel, damping="default"):
    """Return the velocities one physics step later, without any force. Shape (velocities,)."""
    engine = make_engine("bullet", robot, timestep, 1, damping=damping)
    engine.reset(np.arange(1), np.array([qpos]), np.array([qvel]), None)
    engine.step(np.zeros((1, len(robot.actuated))))
    after = engine.qvel[0].copy()
    engine.close()
    return after


def test_a_gliding_disc_loses_speed_as_bullets_law_says():
    # |v| = 0.5 m/s: 1 - 0.02 * 0.04 * (1 + 0.5) = 0.9988; |w| = 1 rad/s: 1 - 0.02 * 0.04 * 2.
    after = once(DiscRobot(), 0.02, [0.0, 0.0, 0.0], [0.3, -0.4, 1.0])
    np.testing.assert_allclose(after, [0.3 * 0.9988, -0.4 * 0.9988, 0.9984], atol=1e-12)


def test_a_gliding_cart_is_slowed_with_its_pole():
    # Upright and not turning, both move at 2 m/s: 1 - 0.01 * 0.04 * (1 + 2) = 0.9988 for both.
    after = once(CartPole(), 0.01, [0.0, 0.0], [2.0, 0.0])
    np.testing.assert_allclose(after, [2 * 0.9988, 0.0], atol=1e-12)


def test_a_falling_rover_is_braked_by_the_air():
    # 1 m up at rest but for 0.5 m/s sideways: 0.5 * (1 - 0.01 * 0.04 * 1.5) = 0.4997.
    rover = Rover()
    qpos, qvel = (rows[0] for rows in rover.at_rest(np.zeros((1, 2)), np.zeros(1)))
    qpos[2], qvel[0] = 1.0, 0.5
    assert once(rover, 0.01, qpos, qvel)[0] == pytest.approx(0.4997, abs=1e-9)
    assert once(rover, 0.01, qpos, qvel, "none")[0] == pytest.approx(0.5, abs=1e-12)


def test_a_new_world_after_a_breakdown_is_damped_too():
    engine = make_engine("bullet", DiscRobot(), 0.02, 1, damping="default")
    engine.reset(np.arange(1), np.zeros((1, 3)), np.zeros((1, 3)), None)
    engine.step(np.full((1, 3), np.inf))
    assert engine.broken.all()
    engine.reset(np.arange(1), np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0]]), None)
    engine.step(np.zeros((1, 3)))
    assert engine.qvel[0, 0] == pytest.approx(0.9984)  # 1 - 0.02 * 0.04 * (1 + 1)
    engine.close()


@pytest.mark.parametrize("task", ["CartPoleSwingUp", "NavLidar", "NavRover"])
def test_it_is_felt_in_every_task_and_off_unless_asked_for(task):
    moved = {}
    asked = {"usual": {}, "none": {"damping": "none"}, "on": {"damping": "default"}}
    for name, kwargs in asked.items():
        envs = make_vec(f"robolearn/{task}-v0", 2, engine="bullet", **kwargs)
        envs.reset(seed=3)
        for _ in range(20):
            envs.step(np.full(envs.action_space.shape, 0.5, dtype=np.float32))
        moved[name] = np.concatenate(envs.unwrapped.state(), axis=1)
        envs.close()
    np.testing.assert_array_equal(moved["usual"], moved["none"])
    gap = np.abs(moved["on"] - moved["none"]).max()
    assert 1e-5 < gap < 0.1


@pytest.mark.parametrize(
    ("engine", "damping", "told"),
    [
        ("mujoco", "default", "needs engine='bullet', got engine='mujoco'"),
        ("analytic", "default", "needs engine='bullet', got engine='analytic'"),
        ("bullet", "defualt", "Unknown damping 'defualt'. Did you mean 'default'?"),
        ("bullet", 0.04, "Unknown damping '0.04'"),
        ("mujoco", "off", "Unknown damping 'off'"),
    ],
)
def test_it_is_bullets_alone_and_has_two_names(engine, damping, told):
    config = EnvConfig(
        id="robolearn/CartPoleBalance-v0", engine=engine, kwargs={"damping": damping}
    )
    with pytest.raises(RobolearnError, match=told) as refusal:
        config.make_vec(1)
    assert "\n" not in str(refusal.value)
