"""Environments on a torch device are those on the host."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from scenes import LIDAR as SENSOR
from scenes import closed_form_lidar
from torch.utils._pytree import tree_leaves

from robolearn_envs.core.backend import tree_map
from robolearn_envs.torch_vector import TorchVectorEnv
from robolearn_envs.vector import RoboVectorEnv

pytestmark = pytest.mark.usefixtures("small_datasets")

BALANCE, SWING_UP = "CartPoleBalance-v0", "CartPoleSwingUp-v0"
LIDAR, DEPTH = "NavLidar-v0", "NavDepth-v0"
MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
N, SEED = 6, 5
EPS = 2.0**-24  # relative rounding error of float32


def on_device(task, num_envs=N, mode=AutoresetMode.SAME_STEP, dtype=torch.float32, **options):
    return TorchVectorEnv(
        f"robolearn/{task}", num_envs, autoreset_mode=mode, dtype=dtype, **options
    )


def pair(task, mode=AutoresetMode.SAME_STEP, num_envs=N, **options):
    """Return the same environments on the host and on a device, both in float64."""
    host = RoboVectorEnv(
        f"robolearn/{task}", num_envs, engine="analytic", autoreset_mode=mode, **options
    )
    return host, on_device(task, num_envs, mode, torch.float64, **options)


def steer(observation, rng):
    """Return commands that end episodes in all ways there are. Shape (N, commands).

    Carts: env 0 balances, the others are pushed at random, beyond full command at times. Robots:
    envs 0 and 3 turn to the goal and drive there, 1 and 4 drive straight on, 2 and 5 stand.
    """
    if isinstance(observation, dict) or observation.shape[1] > 5:
        goal = observation["goal"] if isinstance(observation, dict) else observation[:, -5:]
        cos, sin = goal[:, 1], goal[:, 2]
        command = np.stack([np.clip(cos, 0.0, 1.0), np.clip(2 * sin, -1.0, 1.0)], axis=-1)
        command[1::3] = [0.9, 0.0]
        command[2::3] = 0.0
        return command + 0.05 * rng.uniform(-1, 1, command.shape)
    command = rng.uniform(-1.2, 1.2, (len(observation), 1))
    if observation.shape[1] == 4:
        command[0] = 10.0 * (observation[0] @ [0.1, 0.3, 2.0, 0.7])
    return command


def assert_close(got, expected, atol):
    """Compare trees of tensors with trees of arrays; flags and counts must be equal."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for name, part in expected.items():
            assert_close(got[name], part, atol)
        return
    array = got.numpy()
    assert array.shape == expected.shape
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(array, expected, rtol=0, atol=atol)
    else:
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def assert_same_info(got, expected):
    """Compare infos: what the host does not say, or of nobody, is 0 or False on the device."""
    for name, part in got.items():
        told = expected.get(name)
        if told is None:
            assert not any(leaf.any() for leaf in tree_leaves(part)), name
        elif name == "final_obs":
            blank = tree_map(np.zeros_like, next(one for one in told if one is not None))
            rows = [blank if one is None else one for one in told]
            assert_close(part, tree_map(lambda *each: np.stack(each), *rows), 1e-6)
        else:  # terms of rewards are of float32
            assert_close(part, told, 1e-6 if name == "reward_terms" else 1e-9)
    assert expected.keys() <= got.keys()


def compare(host, device, steps, within=1e-6):
    """Let both run from the same seed; return how often episodes ended, by name."""
    rng = np.random.default_rng(0)
    disabled = host.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    observation, _ = host.reset(seed=SEED)
    assert_close(device.reset(seed=SEED)[0], observation, within)
    counts = dict.fromkeys(["terminated", "truncated", "success"], 0)
    for _ in range(steps):
        actions = host.ctrl_to_action(steer(observation, rng))
        observation, reward, terminated, truncated, info = host.step(actions)
        seen, earned, *ends, told = device.step(torch.from_numpy(actions))
        assert_close(seen, observation, within)
        assert_close(earned, reward, within)  # float32: rewards are below 16, half a unit is 5e-7
        for flag, expected in zip(ends, (terminated, truncated), strict=True):
            assert_close(flag, expected, 0)
        assert_same_info(told, info)
        for one, other in zip(device.qpos_qvel(), host.qpos_qvel(), strict=True):
            assert_close(one, other, 1e-9)
        success = info.get("final_info", info).get("success", np.zeros(1, bool))
        for name, flag in zip(counts, (terminated, truncated, success), strict=True):
            counts[name] += np.count_nonzero(flag)
        done = terminated | truncated
        if disabled and done.any():
            observation, _ = host.reset(options={"reset_mask": done})
            mask = {"reset_mask": torch.from_numpy(done)}
            assert_close(device.reset(options=mask)[0], observation, within)
    kept = {name: rows for name, rows in host.task_state.items() if name != "distance_map"}
    assert_close({name: device.task_state[name] for name in kept}, kept, 1e-9)
    host.close()
    device.close()
    return counts


CART_CASES = [
    pytest.param(
        task, mode, {"action": kind, "domain_randomization": r}, id=f"{task}-{mode.name}-{kind}-{r}"
    )
    for task in (BALANCE, SWING_UP)
    for mode, kind, r in [
        *((mode, "continuous", 0.2) for mode in MODES),
        (AutoresetMode.SAME_STEP, "discrete", 0.0),
        (AutoresetMode.NEXT_STEP, "discrete", 0.2),
    ]
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "mode", "options"), CART_CASES)
def test_cart_poles_on_a_device_are_those_on_the_host(task, mode, options):
    host, device = pair(task, mode, **options)
    # Whole episodes of 500, env 0's in Balance as well.
    counts = compare(host, device, steps=520, within=1e-6)
    assert counts["truncated"] >= (1 if task == BALANCE else N)
    assert (counts["terminated"] > 10 * N) == (task == BALANCE)
    assert (counts["success"] > 0) == (task == BALANCE)


NAV_CASES = [
    pytest.param(options, mode, id=f"{index}-{mode.name}")
    for index, (options, mode) in enumerate(
        [
            (
                {"level": 0, "action": "discrete", "domain_randomization": 0.2},
                AutoresetMode.SAME_STEP,
            ),
            ({"level": 2}, AutoresetMode.NEXT_STEP),
            ({"level": 2, "domain_randomization": 0.2}, AutoresetMode.DISABLED),
            ({"level": 3, "action": "discrete"}, AutoresetMode.DISABLED),
            ({"level": 3, "domain_randomization": 0.2}, AutoresetMode.NEXT_STEP),
            ({"level": 4, "split": "test", "domain_randomization": 0.2}, AutoresetMode.SAME_STEP),
            *(
                ({"level": 2, "curriculum": True, "domain_randomization": 0.2}, mode)
                for mode in MODES
            ),
        ]
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "mode"), NAV_CASES)
def test_robots_on_a_device_are_those_on_the_host(options, mode):
    # 110 steps instead of 300, to have truncations early.
    host, device = pair(LIDAR, mode, max_episode_steps=110, **options)
    counts = compare(host, device, steps=220, within=1e-6)
    assert counts["terminated"] >= N
    assert counts["truncated"] >= 2  # those that stand
    assert counts["success"] >= 1
    if options.get("curriculum"):
        assert len(set(host.task_state["level"].tolist())) > 1


@pytest.mark.slow
@every_mode
def test_cameras_on_a_device_see_what_those_on_the_host_do(mode):
    host, device = pair(DEPTH, mode, num_envs=3, level=4, domain_randomization=0.2)
    assert compare(host, device, steps=60)["terminated"] >= 1


def test_single_resets_and_lists_of_seeds_are_as_on_the_host():
    host, device = pair(LIDAR, AutoresetMode.NEXT_STEP, level=2, curriculum=True)
    some = np.arange(N) % 2 == 0
    calls = [
        {"seed": list(range(70, 70 + N))},
        {"options": {"reset_mask": some}},
        {"seed": 9, "options": {"reset_mask": ~some}},
        {},
        {"seed": [3] * N, "options": {"reset_mask": some}},
        {},
    ]
    for call in calls:
        assert_close(device.reset(**call)[0], host.reset(**call)[0], 1e-6)
        for _ in range(3):
            actions = np.ones((N, 2), np.float32)
            assert_close(device.step(actions)[0], host.step(actions)[0], 1e-6)
    host.close()
    device.close()


# float32: one step from a state that both have.


def one_step(task, **options):
    """Return float64 environments 60 steps on, and what both types make of the next step."""
    exact, rough = (on_device(task, 64, dtype=d, **options) for d in (torch.float64, torch.float32))
    exact.reset(seed=SEED)
    rng = np.random.default_rng(0)
    for _ in range(60):
        exact.step(torch.from_numpy(rng.uniform(-1, 1, exact.action_space.shape)))
    rough.set_state(exact.get_state())
    actions = torch.from_numpy(rng.uniform(-1, 1, exact.action_space.shape).astype(np.float32))
    steps = [env.step(actions) for env in (exact, rough)]
    for one, other in zip(steps[0][2:4], steps[1][2:4], strict=True):
        assert torch.equal(one, other)
    return exact, *((step[0], step[1]) for step in steps)


@pytest.mark.parametrize("task", [BALANCE, SWING_UP])
def test_a_cart_pole_in_float32_is_off_by_rounding_after_a_step(task):
    # Two physics steps round each number a dozen times, an angle of up to 4 rad to 4 EPS among
    # them, of which cosines have what they have: 16 EPS of 1, or of the number if it is larger.
    exact, (expected, reward), (got, earned) = one_step(task, action="continuous")
    assert exact.qpos_qvel()[0][:, 1].abs().max() < 4.0
    error = (got.double() - expected.double()).abs() / expected.double().abs().clamp(min=1.0)
    assert 0 < error.max() < 16 * EPS
    assert (earned - reward).abs().max() < 16 * EPS


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 3, 4])
def test_a_robot_in_float32_is_off_by_rounding_after_a_step(level):
    # Positions of up to 5 m and five physics steps: the pose is known to 5 * 16 EPS = 5e-6 m at
    # the worst. A reading moves as much, unless it grazes something: those that move by over 4
    # times as much as the robot does, in x, y or heading, are looked at by nobody.
    exact, (expected, reward), (got, earned) = one_step(LIDAR, level=level)
    assert (earned - reward).abs().max() < 5e-6
    assert (got - expected)[:, SENSOR.num_rays :].abs().max() < 5e-6
    pose, moved = exact.qpos_qvel()[0].numpy(), 1e-5
    around = [exact.task_state[name].numpy() for name in ("obstacle_positions", "boxes")]
    here = closed_form_lidar(pose[:, :2], pose[:, 2], *around)
    smooth = np.ones(here.shape, bool)
    for shift in (*(moved * np.eye(3)), *(-moved * np.eye(3))):
        there = pose + shift
        change = np.abs(closed_form_lidar(there[:, :2], there[:, 2], *around) - here)
        smooth &= change < 4 * moved
    assert smooth.mean() > 0.8
    error = (got - expected)[:, : SENSOR.num_rays].abs().numpy() * SENSOR.range_max  # m
    assert error[smooth].max() < 4 * 5e-6
