"""What leads from one observation to another leads from its mirror image to the other's."""

import numpy as np
import pytest

from robolearn_envs import make_vec
from robolearn_envs.core.backend import ALL
from robolearn_envs.core.sim import Sim
from robolearn_envs.engines import make_engine
from robolearn_envs.registry import make_task


@pytest.mark.parametrize("task_id", ["CartPoleBalance-v0", "CartPoleSwingUp-v0"])
def test_a_cart_pole_pushed_the_other_way_moves_the_other_way(task_id):
    task, rng = make_task(f"robolearn/{task_id}", {}), np.random.default_rng(0)
    qpos, qvel = rng.uniform(-2.2, 2.2, (50, 2)), rng.uniform(-1, 1, (50, 2))  # some in a bumper
    ctrl = rng.uniform(-1, 1, (50, 1))
    there, here = (
        after(task, sign * qpos, sign * qvel, push)
        for sign, push in ((-1, task.mirror_ctrl(ctrl)), (1, ctrl))
    )
    np.testing.assert_allclose(there, task.mirror_observation(here), atol=1e-12)
    assert np.abs(there - here).max() > 0.1


def after(task, qpos, qvel, ctrl):
    """Return what is observed a step later."""
    engine = make_engine("analytic", task.robot, task.timestep, len(qpos))
    engine.reset(np.arange(len(qpos)), qpos, qvel, None)
    for _ in range(task.frame_skip):
        engine.step(task.actuate(engine.qpos, engine.qvel, ctrl, {}))
    sim = Sim(engine, ALL, task.robot, engine.qpos, engine.qvel, {}, {}, {}, 0.02)
    observed = task.observe(sim, {})
    engine.close()
    return observed


def layout(side):
    return {
        "goal": [2.0, side * 1.5],
        "start": [-3.0, side * -1.0, side * 0.4],
        "cylinders": [[0.0, side * 0.5, 0.4], [1.5, side * -2.0, 0.6]],
        "boxes": [[-1.0, side * 2.5, 0.5, 0.3]],
    }


@pytest.mark.parametrize("action", ["continuous", "discrete"])
@pytest.mark.parametrize(
    ("task_id", "engine", "exact"),
    [
        ("NavLidar-v0", "analytic", 1e-5),
        ("NavDepth-v0", "analytic", 1e-5),
        ("NavRover-v0", "mujoco", 1e-2),
    ],
)
def test_a_robot_in_the_mirrored_arena_sees_and_drives_mirrored(task_id, engine, exact, action):
    here, there = (
        make_vec(f"robolearn/{task_id}", 1, engine=engine, action=action) for _ in range(2)
    )
    seen, _ = here.reset(seed=0, options={"layout": layout(1)})
    other, _ = there.reset(seed=0, options={"layout": layout(-1)})
    rng = np.random.default_rng(1)
    turned = 0.0
    for _ in range(15):
        drawn = rng.integers(0, 5, 1) if action == "discrete" else rng.uniform(-1, 1, (1, 2))
        expected, opposite = here.mirrored(seen, drawn)
        for name in expected if isinstance(expected, dict) else [...]:
            np.testing.assert_allclose(other[name], expected[name], atol=exact)
        goal = seen["goal"] if isinstance(seen, dict) else seen[:, -5:]
        turned = max(turned, abs(float(goal[0, 4])))
        seen, other = here.step(drawn)[0], there.step(opposite)[0]
    assert turned > 0.1
    here.close()
    there.close()


@pytest.mark.parametrize("forces", [2, 3, 5, 11])
def test_mirrored_twice_is_as_before(forces):
    envs = make_vec(
        "robolearn/CartPoleSwingUp-v0",
        1,
        engine="analytic",
        action="discrete",
        num_discrete_actions=forces,
    )
    actions, observation = np.arange(forces), np.arange(10.0).reshape(2, 5)
    once = envs.mirrored(observation, actions)
    assert once[1].tolist() == actions[::-1].tolist()
    twice = envs.mirrored(*once)
    np.testing.assert_array_equal(twice[0], observation)
    np.testing.assert_array_equal(twice[1], actions)
    envs.close()
