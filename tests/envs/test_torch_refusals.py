"""What environments on a torch device refuse, in words that help."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from robolearn_envs import make_vec
from robolearn_envs.torch_vector import TorchVectorEnv

pytestmark = pytest.mark.usefixtures("small_datasets")

BALANCE, SWING_UP, DMC = (f"robolearn/CartPole{name}-v0" for name in ("Balance", "SwingUp", "DMC"))
LIDAR, ROVER = "robolearn/NavLidar-v0", "robolearn/NavRover-v0"
N = 3


@pytest.fixture
def swing_up():
    env = TorchVectorEnv(SWING_UP, N)
    env.reset(seed=0)
    return env


@pytest.fixture
def balance():
    env = TorchVectorEnv(BALANCE, N)
    env.reset(seed=0)
    return env


def unchanged(env, before):
    return all(np.array_equal(array, before[name]) for name, array in env.get_state().items())


# Making them.


@pytest.mark.parametrize("count", [0, -1])
def test_there_must_be_at_least_one_env(count):
    with pytest.raises(ValueError, match=rf"^num_envs must be at least 1, got {count}\.$"):
        TorchVectorEnv(SWING_UP, count)


@pytest.mark.parametrize(
    ("randomize", "told"),
    [
        (1.5, r"must lie in \[0, 1\), got 1\.5"),
        (1.0, r"must lie in \[0, 1\), got 1\.0"),
        (-0.1, r"must lie in \[0, 1\), got -0\.1"),
        (float("nan"), "must be a finite number, got nan"),
    ],
)
def test_domain_randomization_as_a_number_must_lie_in_zero_to_one(randomize, told):
    with pytest.raises(ValueError, match=f"^domain_randomization {told}"):
        TorchVectorEnv(SWING_UP, N, domain_randomization=randomize)


@pytest.mark.parametrize(
    ("task", "engine", "there"),
    [
        (ROVER, "torch", "mujoco and bullet and warp: DiffDriveRobot has no forward_dynamics"),
        (DMC, "torch", "mujoco: DMControlCartPole has no forward_dynamics"),
        (DMC, "warp", "mujoco: it is defined on those only"),
    ],
)
def test_an_engine_the_task_is_not_on_gets_the_list_of_those_it_is_on(task, engine, there):
    told = rf"^{task} does not run on engine '{engine}', but on {there}.*Use engine='mujoco'\.$"
    with pytest.raises(ValueError, match=told):
        TorchVectorEnv(task, N, engine=engine)


@pytest.mark.parametrize("task", [DMC, ROVER])
def test_by_name_too_a_task_is_refused_on_an_engine_it_is_not_on(task):
    with pytest.raises(ValueError, match=f"{task} does not run on engine 'torch'"):
        gym.make_vec(task, num_envs=N, engine="torch")


def test_a_misspelt_engine_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"Unknown engine 'troch'\. Did you mean 'torch'\?"):
        TorchVectorEnv(LIDAR, N, engine="troch")


def test_an_engine_on_the_host_is_not_one_of_a_device():
    with pytest.raises(ValueError, match="'analytic' has no option 'device': it is for torch and"):
        TorchVectorEnv(LIDAR, N, engine="analytic")


def test_only_the_closed_form_can_be_compiled():
    with pytest.raises(
        ValueError, match=r"^Only engine='torch' can be compiled, got engine='warp'"
    ):
        TorchVectorEnv(SWING_UP, N, engine="warp", compile_step=True)


def test_a_misspelt_engine_gets_a_suggestion_by_name():
    with pytest.raises(ValueError, match=r"Unknown engine 'mujuco'\. Did you mean 'mujoco'\?"):
        gym.make_vec(LIDAR, num_envs=N, engine="mujuco")


@pytest.mark.parametrize(
    ("task", "engine", "there"),
    [(LIDAR, "mujoco", "torch and warp"), (DMC, "mujoco", "none"), (ROVER, "bullet", "warp")],
)
def test_engines_on_the_host_know_no_device(task, engine, there):
    told = rf"got device='cpu' and engine='{engine}'\. Those that {task} runs on: {there}\."
    with pytest.raises(ValueError, match=told):
        gym.make_vec(task, num_envs=N, engine=engine, device="cpu")


@pytest.mark.parametrize(("engine", "twin"), [("torch", "analytic"), ("warp", "mujoco")])
def test_a_single_env_on_a_device_is_refused_with_what_to_use_instead(engine, twin):
    told = rf"Engine '{engine}' steps batches .* use gymnasium\.make_vec\. .*engine='{twin}'\.$"
    with pytest.raises(ValueError, match=told):
        gym.make(LIDAR, engine=engine)


def test_an_option_there_is_not_is_a_type_error():
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'levl'.*Did you mean 'level'"
    ):
        make_vec(LIDAR, N, engine="torch", levl=2)


@pytest.mark.parametrize(
    ("option", "refused", "neutral"),
    [
        ("render_mode", "rgb_array", None),
        ("view", "top", None),
        ("width", 64, None),
        ("on_divergence", "raise", "truncate"),
    ],
)
def test_what_is_of_the_host_alone_is_refused_where_it_asks_for_something(option, refused, neutral):
    with pytest.raises(ValueError, match=f"{option} is for environments on the host, got engine="):
        make_vec(LIDAR, N, engine="torch", **{option: refused})
    make_vec(LIDAR, N, engine="torch", **{option: neutral}).close()


def test_an_unknown_action_kind_is_refused():
    with pytest.raises(ValueError, match="'continuous' or 'discrete', got 'diskrete'"):
        TorchVectorEnv(SWING_UP, N, action="diskrete")


# Resetting them.


@pytest.mark.parametrize("option", ["layout", "layout_id", "start", "nope"])
@pytest.mark.parametrize("task", [LIDAR, SWING_UP])
def test_a_reset_grants_no_wishes_and_leaves_episodes_as_they_were(task, option):
    env = TorchVectorEnv(task, N)
    env.reset(seed=0)
    before = env.get_state()
    told = f"Unknown option of reset '{option}'"
    if task == LIDAR and option != "nope":
        told = f"a reset has no option '{option}'; use engine='analytic'"
    with pytest.raises(ValueError, match=told):
        env.reset(seed=1, options={option: 0})
    assert unchanged(env, before)


@pytest.mark.parametrize("seeds", [[1, 2], [1, 2, 3, 4], [], np.array([[1, 2, 3]])])
def test_a_list_of_seeds_must_have_one_per_env(swing_up, seeds):
    before = swing_up.get_state()
    with pytest.raises(
        ValueError, match=r"^seed must list 3 seeds, got|^A seed must be an integer of at least 0"
    ):
        swing_up.reset(seed=seeds)
    assert unchanged(swing_up, before)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, [1, 2, -3], [1, 2, 0.5]])
def test_a_seed_must_be_an_integer_of_at_least_0(swing_up, seed):
    before = swing_up.get_state()
    with pytest.raises(ValueError, match=r"^A seed must be an integer of at least 0, got"):
        swing_up.reset(seed=seed)
    assert unchanged(swing_up, before)


@pytest.mark.parametrize("seed", [2**63 - 2, 2**100])
def test_seeds_may_be_of_any_size_and_are_the_hosts(swing_up, seed):
    host = make_vec(SWING_UP, N, engine="analytic")
    observation, _ = swing_up.reset(seed=seed)
    expected, _ = host.reset(seed=seed)
    np.testing.assert_allclose(observation, expected, atol=1e-6)
    assert len(np.unique(expected, axis=0)) == N
    host.close()


@pytest.mark.parametrize(
    "mask", [np.ones(2, bool), np.ones((3, 1), bool), np.ones(3), True, torch.ones(3)]
)
def test_a_reset_mask_must_be_bool_with_an_entry_per_env(swing_up, mask):
    before = swing_up.get_state()
    with pytest.raises(ValueError, match=r"must be bool of shape \(3,\), got"):
        swing_up.reset(options={"reset_mask": mask})
    assert unchanged(swing_up, before)


# Stepping them.


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_stepping_before_the_first_reset_needs_a_reset(mode):
    env = TorchVectorEnv(SWING_UP, N, autoreset_mode=mode)
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) first"):
        env.step(torch.zeros(N, 1))


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 1), (3, 2), (1, 3), ()])
def test_continuous_actions_of_another_shape_are_refused(swing_up, shape):
    before = swing_up.get_state()
    with pytest.raises(ValueError, match=r"^Actions must have shape \(3, 1\), got"):
        swing_up.step(torch.zeros(shape))
    assert unchanged(swing_up, before)


@pytest.mark.parametrize("shape", [(2,), (3, 1), ()])
def test_discrete_actions_of_another_shape_are_refused(balance, shape):
    with pytest.raises(ValueError, match=r"^Actions must have shape \(3,\), got"):
        balance.step(torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool])
def test_discrete_actions_must_be_integers(balance, dtype):
    with pytest.raises(ValueError, match=f"^Discrete actions must be integers, got {dtype}"):
        balance.step(torch.zeros(N, dtype=dtype))


def test_discrete_actions_beyond_those_there_are_count_as_the_last(balance):
    other = TorchVectorEnv(BALANCE, N)
    other.reset(seed=0)
    got, expected = balance.step([-3, 2, 99]), other.step([0, 1, 1])
    assert torch.equal(got[0], expected[0])


# Whom nobody has begun, and who has ended.


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_an_env_that_a_first_masked_reset_left_out_is_not_run_from_nowhere(mode):
    env = TorchVectorEnv(SWING_UP, 2, autoreset_mode=mode)
    options = {"reset_mask": np.array([True, False])}
    try:
        env.reset(seed=0, options=options)
        env.step(torch.zeros(2, 1))
    except (ValueError, gym.error.ResetNeeded):
        return  # as RoboVectorEnv does
    whole = TorchVectorEnv(SWING_UP, 2, autoreset_mode=mode)  # or it has begun with the others
    whole.reset(seed=0)
    whole.step(torch.zeros(2, 1))
    for one, other in zip(env.qpos_qvel(), whole.qpos_qvel(), strict=True):
        assert torch.equal(one, other)


def test_a_success_counts_though_the_robot_goes_on_until_it_is_reset():
    env = TorchVectorEnv(LIDAR, 1, level=2, curriculum=True, autoreset_mode="Disabled")
    env.reset(seed=0)
    for place in (env.task_state["goal"].clone(), torch.tensor([[4.9, 0.0]])):
        qpos = torch.cat([place, torch.zeros(1, 1)], dim=1)
        env._engine.reset(torch.ones(1, dtype=torch.bool), qpos, torch.zeros(1, 3), None)
        env.task_state["xy"].copy_(place)  # it has not come there by any way
        _, reward, _, truncated, _ = env.step(torch.zeros(1, 2))
    assert reward == 0.0
    assert truncated
    env.reset()
    assert env.task_state["level"].tolist() == [1]
