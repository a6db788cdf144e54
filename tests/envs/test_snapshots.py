"""Environments that were put away in the middle of episodes go on exactly there."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from tasks_by_name import TASKS

from robolearn_envs import make_vec
from robolearn_envs.engines import ENGINES
from robolearn_envs.engines.replay_log import ReplayLog

pytestmark = pytest.mark.usefixtures("small_datasets")

VARIANTS = {
    "CartPoleBalance-v0": [{}, {"domain_randomization": 0.3}],
    "CartPoleSwingUp-v0": [{}, {"domain_randomization": 0.3}],
    "CartPoleDMC-v0": [{}],
    "NavLidar-v0": [
        {"level": 3, "domain_randomization": 0.2},
        {"level": 4, "curriculum": True},
        {"action": "discrete"},
    ],
    "NavRover-v0": [{"level": 3, "domain_randomization": 0.2}],
    "NavDepth-v0": [{"level": 3, "domain_randomization": 0.2}],
}
CASES = [
    pytest.param(name, engine, options, id=f"{name}-{engine}-{index}")
    for name, variants in VARIANTS.items()
    for engine in ENGINES
    if engine in TASKS[name].engines
    for index, options in enumerate(variants)
]
BEFORE, AFTER, ENVS = 70, 90, 3
MODES = list(AutoresetMode)


def made(name, engine, mode=AutoresetMode.SAME_STEP, **options):
    return make_vec(
        f"robolearn/{name}", ENVS, engine=engine, autoreset_mode=mode, num_threads=1, **options
    )


def some_actions(env, count, seed):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def played(env, actions):
    """Return, for each step, all that the environments gave."""
    told = []
    for action in actions:
        observation, *rest, info = env.step(action)
        told += [*arrays(observation), *rest, *arrays(info)]
        done = rest[1] | rest[2]
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            told += arrays(env.reset(options={"reset_mask": done})[0])
    return told


def arrays(tree):
    if tree is None:
        return []
    if isinstance(tree, np.ndarray) and tree.dtype == object:  # observations, None where none is
        return [array for one in tree for array in arrays(one)]
    if not isinstance(tree, dict):
        return [tree]
    return [array for key in sorted(tree) for array in arrays(tree[key])]


def assert_same(one, other):
    assert len(one) == len(other)
    for ours, theirs in zip(one, other, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_every_task_is_put_away():
    assert VARIANTS.keys() == TASKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "engine", "options"), CASES)
def test_environments_taken_up_go_on_as_if_they_had_not_been_put_away(name, engine, options):
    env, other = (made(name, engine, **options) for _ in range(2))
    env.reset(seed=3)
    played(env, some_actions(env, BEFORE, 0))
    kept = env.unwrapped.get_state()
    copied = {key: array.copy() for key, array in kept.items()}
    later = some_actions(env, AFTER, 1)
    other.reset(seed=99)
    played(other, some_actions(other, 7, 2))
    other.unwrapped.set_state(kept)
    assert_same(list(other.unwrapped.get_state().values()), list(copied.values()))
    whole = played(env, later)
    assert_same(list(kept.values()), list(copied.values()))  # going on leaves it as it is
    assert_same(played(other, later), whole)
    env.close()
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
@pytest.mark.parametrize("before", [0, 1, 30, 60])
def test_environments_of_every_mode_are_taken_up(mode, engine, before):
    # An untrained pole falls within 60 steps or so: some of it is put away just before a reset.
    env, other = (
        made("CartPoleBalance-v0", engine, mode, domain_randomization=0.2) for _ in range(2)
    )
    env.reset(seed=3)
    played(env, some_actions(env, before, 0))
    later = some_actions(env, AFTER, 1)
    other.unwrapped.set_state(env.unwrapped.get_state())  # not even a reset before it
    whole = played(env, later)
    assert any(array.any() for array in whole[2::5] if array.dtype == bool)  # episodes ended
    assert_same(played(other, later), whole)
    env.close()
    other.close()


def test_a_state_can_be_taken_up_twice_and_by_its_own_environments():
    env = made("CartPoleSwingUp-v0", "mujoco", domain_randomization=0.3)
    env.reset(seed=3)
    played(env, some_actions(env, 20, 0))
    kept, later = env.unwrapped.get_state(), some_actions(env, 30, 1)
    first = played(env, later)
    for _ in range(2):
        env.unwrapped.set_state(kept)
        assert_same(played(env, later), first)
    env.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_environments_that_broke_are_mended_by_a_state(engine):
    env = made("CartPoleSwingUp-v0", engine)
    env.reset(seed=3)
    kept = env.unwrapped.get_state()
    env.unwrapped._engine.reset(np.arange(1), np.full((1, 2), np.nan), np.zeros((1, 2)), None)
    with pytest.raises(RuntimeError, match="env 0"):
        env.step(some_actions(env, 1, 0)[0])
    env.unwrapped.set_state(kept)
    assert not env.unwrapped._engine.diverged.any()
    played(env, some_actions(env, 5, 0))
    env.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_even_the_sign_of_a_zero_is_put_away(engine):
    env = made("CartPoleSwingUp-v0", engine)
    env.reset(seed=3)
    minus = np.full((ENVS, 2), -0.0)
    env.unwrapped._engine.reset(np.arange(ENVS), minus, minus, None)
    before = [array.tobytes() for array in env.unwrapped.qpos_qvel()]
    env.unwrapped.set_state(env.unwrapped.get_state())
    assert [array.tobytes() for array in env.unwrapped.qpos_qvel()] == before
    env.close()


def assert_refused(env, kept):
    before = env.unwrapped.get_state()
    with pytest.raises(ValueError, match="This is no state of these environments") as refusal:
        env.unwrapped.set_state(kept)
    assert "\n" not in str(refusal.value)
    assert_same(list(env.unwrapped.get_state().values()), list(before.values()))


def without(kept, lacking):
    """Return a state in which all else but what it is of is another number."""
    assert lacking in kept
    return {
        name: array if name == "made_as" else array + 1
        for name, array in kept.items()
        if name != lacking
    }


@pytest.mark.parametrize(
    "lacking",
    ["made_as", "step_count", "task_state/success_streak", "parameters/pole_mass", "engine/state"],
)
def test_a_state_that_lacks_something_is_refused_and_changes_nothing(lacking):
    env = made("CartPoleSwingUp-v0", "analytic", domain_randomization=0.2)
    env.reset(seed=3)
    assert_refused(env, without(env.unwrapped.get_state(), lacking))
    env.close()


def test_a_state_with_something_more_or_of_another_shape_is_refused():
    env = made("CartPoleSwingUp-v0", "analytic")
    env.reset(seed=3)
    kept = env.unwrapped.get_state()
    assert_refused(env, kept | {"task_state/more": np.zeros(ENVS)})
    with pytest.raises(ValueError, match=r"'step_count' must have shape \(3,\), got \(4,\)"):
        env.unwrapped.set_state(kept | {"step_count": np.zeros(ENVS + 1, dtype=np.int64)})
    assert_same(list(env.unwrapped.get_state().values()), list(kept.values()))
    env.close()


@pytest.mark.parametrize(
    ("name", "engine", "count", "options"),
    [
        ("CartPoleBalance-v0", "analytic", ENVS, {"domain_randomization": 0.3}),
        ("CartPoleSwingUp-v0", "mujoco", ENVS, {"domain_randomization": 0.3}),
        ("CartPoleSwingUp-v0", "analytic", ENVS + 1, {"domain_randomization": 0.3}),
        ("CartPoleSwingUp-v0", "analytic", 1, {"domain_randomization": 0.3}),
        ("CartPoleSwingUp-v0", "analytic", ENVS, {"domain_randomization": 0.2}),
        ("CartPoleSwingUp-v0", "analytic", ENVS, {"domain_randomization": {"pole_mass": 0.3}}),
        ("CartPoleSwingUp-v0", "analytic", ENVS, {}),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_state_of_other_environments_is_refused_and_changes_nothing(
    name, engine, count, options, begun
):
    env = made("CartPoleSwingUp-v0", "analytic", domain_randomization=0.3)
    other = make_vec(f"robolearn/{name}", count, engine=engine, **options)
    other.reset(seed=3)
    if begun:
        env.reset(seed=4)
    assert_refused(env, other.unwrapped.get_state())
    if not begun:
        with pytest.raises(ResetNeeded):
            env.step(some_actions(env, 1, 0)[0])
    env.close()
    other.close()


# How an episode came about.


def force(number):
    """Forces of a step that name step, env and joint."""
    return number + np.arange(2)[:, None] / 10 + np.arange(3) / 100


def test_a_log_holds_the_forces_of_each_copy_since_its_episode_began():
    log = ReplayLog(2, 4, 5, 3)
    log.begin(np.arange(2), np.ones((2, 4)), np.ones((2, 5)))
    assert log.since(0).shape == (0, 3)
    for step in range(3):
        log.add(force(step))
    log.begin(np.array([1]), np.full((1, 4), 7.0), np.full((1, 5), 8.0))
    log.add(force(3))
    np.testing.assert_array_equal(log.since(0), [force(step)[0] for step in range(4)])
    np.testing.assert_array_equal(log.since(1), [force(3)[1]])
    assert log.qpos[:, 0].tolist() == [1.0, 7.0]
    assert log.qvel[:, 0].tolist() == [1.0, 8.0]


def test_a_log_keeps_no_more_than_the_oldest_episode_needs():
    log = ReplayLog(2, 1, 1, 3)
    for step in range(5):
        log.add(force(step))
    for env, kept in ((0, 5), (1, 0)):
        log.begin(np.array([env]), np.zeros((1, 1)), np.zeros((1, 1)))
        assert len(log.get_state()["forces"]) == kept
    log.add(force(9))
    np.testing.assert_array_equal(log.since(1), [force(9)[1]])


def test_a_log_notes_forces_as_they_are_then():
    log, pushed = ReplayLog(2, 1, 1, 3), force(0)
    log.add(pushed)
    pushed[:] = 99.0
    np.testing.assert_array_equal(log.since(0), [force(0)[0]])


@pytest.mark.parametrize("steps", [0, 4])
def test_a_log_taken_up_goes_on_as_if_it_had_not_been_put_away(steps):
    log, other = ReplayLog(2, 4, 5, 3), ReplayLog(2, 4, 5, 3)
    other.add(force(50))
    log.begin(np.arange(2), np.ones((2, 4)), np.full((2, 5), 2.0))
    for step in range(steps):
        if step == 2:
            log.begin(np.array([0]), np.zeros((1, 4)), np.zeros((1, 5)))
        log.add(force(step))
    kept = log.get_state()
    other.set_state(kept)
    for each in (log, other):
        each.add(force(9))
        each.begin(np.array([1]), np.full((1, 4), 5.0), np.full((1, 5), 6.0))
        each.add(force(10))
    assert len(kept["forces"]) == steps  # its own
    for env in range(2):
        np.testing.assert_array_equal(other.since(env), log.since(env))
    assert len(log.since(0)) == (4 if steps else 2)
    for ours, theirs in zip(log.get_state().values(), other.get_state().values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
