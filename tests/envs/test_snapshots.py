"""Environments that were put away in the middle of episodes go on exactly there."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from robolearn_envs import make_vec
from robolearn_envs.engines import ENGINES
from robolearn_envs.engines.episodes import EpisodeLog
from robolearn_envs.tasks import TASKS

pytestmark = pytest.mark.usefixtures("small_banks")

VARIANTS = {
    "CartPoleBalance-v0": [{}, {"randomize": 0.3}],
    "CartPoleSwingUp-v0": [{}, {"randomize": 0.3}],
    "CartPoleDMC-v0": [{}],
    "NavLidar-v0": [
        {"level": 3, "randomize": 0.2},
        {"level": 4, "curriculum": True},
        {"action": "discrete"},
    ],
    "NavRover-v0": [{"level": 3, "randomize": 0.2}],
    "NavDepth-v0": [{"level": 3, "randomize": 0.2}],
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
        f"robolearn/{name}", ENVS, engine=engine, autoreset_mode=mode, threads=1, **options
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
    snapshot = env.unwrapped.snapshot()
    copied = {key: array.copy() for key, array in snapshot.items()}
    later = some_actions(env, AFTER, 1)
    other.reset(seed=99)
    played(other, some_actions(other, 7, 2))
    other.unwrapped.restore(snapshot)
    assert_same(list(other.unwrapped.snapshot().values()), list(copied.values()))
    whole = played(env, later)
    assert_same(list(snapshot.values()), list(copied.values()))  # going on leaves it as it is
    assert_same(played(other, later), whole)
    env.close()
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
@pytest.mark.parametrize("before", [0, 1, 30, 60])
def test_environments_of_every_mode_are_taken_up(mode, engine, before):
    # An untrained pole falls within 60 steps or so: some of it is put away just before a reset.
    env, other = (made("CartPoleBalance-v0", engine, mode, randomize=0.2) for _ in range(2))
    env.reset(seed=3)
    played(env, some_actions(env, before, 0))
    later = some_actions(env, AFTER, 1)
    other.unwrapped.restore(env.unwrapped.snapshot())  # not even a reset before it
    whole = played(env, later)
    assert any(array.any() for array in whole[2::5] if array.dtype == bool)  # episodes ended
    assert_same(played(other, later), whole)
    env.close()
    other.close()


def test_a_snapshot_can_be_taken_up_twice_and_by_its_own_environments():
    env = made("CartPoleSwingUp-v0", "mujoco", randomize=0.3)
    env.reset(seed=3)
    played(env, some_actions(env, 20, 0))
    snapshot, later = env.unwrapped.snapshot(), some_actions(env, 30, 1)
    first = played(env, later)
    for _ in range(2):
        env.unwrapped.restore(snapshot)
        assert_same(played(env, later), first)
    env.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_environments_that_broke_are_mended_by_a_snapshot(engine):
    env = made("CartPoleSwingUp-v0", engine)
    env.reset(seed=3)
    snapshot = env.unwrapped.snapshot()
    env.unwrapped._engine.reset(np.arange(1), np.full((1, 2), np.nan), np.zeros((1, 2)), None)
    with pytest.raises(RuntimeError, match="env 0"):
        env.step(some_actions(env, 1, 0)[0])
    env.unwrapped.restore(snapshot)
    assert not env.unwrapped._engine.broken.any()
    played(env, some_actions(env, 5, 0))
    env.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_even_the_sign_of_a_zero_is_put_away(engine):
    env = made("CartPoleSwingUp-v0", engine)
    env.reset(seed=3)
    minus = np.full((ENVS, 2), -0.0)
    env.unwrapped._engine.reset(np.arange(ENVS), minus, minus, None)
    before = [array.tobytes() for array in env.unwrapped.state()]
    env.unwrapped.restore(env.unwrapped.snapshot())
    assert [array.tobytes() for array in env.unwrapped.state()] == before
    env.close()


@pytest.mark.parametrize("lacking", ["elapsed", "factor/pole_mass"])
def test_a_snapshot_of_other_environments_is_refused_and_changes_nothing(lacking):
    env = made("CartPoleSwingUp-v0", "analytic")
    env.reset(seed=3)
    snapshot = env.unwrapped.snapshot()
    assert lacking in snapshot
    others = {key: array + 1 for key, array in snapshot.items() if key != lacking}
    with pytest.raises(ValueError, match="no snapshot of CartPoleSwingUp"):
        env.unwrapped.restore(others)
    assert_same(list(env.unwrapped.snapshot().values()), list(snapshot.values()))
    env.close()


# How an episode came about.


def force(number):
    """Forces of a step that name step, env and joint."""
    return number + np.arange(2)[:, None] / 10 + np.arange(3) / 100


def test_a_log_holds_the_forces_of_each_copy_since_its_episode_began():
    log = EpisodeLog(2, 4, 5, 3)
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
    log = EpisodeLog(2, 1, 1, 3)
    for step in range(5):
        log.add(force(step))
    for env, kept in ((0, 5), (1, 0)):
        log.begin(np.array([env]), np.zeros((1, 1)), np.zeros((1, 1)))
        assert len(log.snapshot()["forces"]) == kept
    log.add(force(9))
    np.testing.assert_array_equal(log.since(1), [force(9)[1]])


def test_a_log_notes_forces_as_they_are_then():
    log, pushed = EpisodeLog(2, 1, 1, 3), force(0)
    log.add(pushed)
    pushed[:] = 99.0
    np.testing.assert_array_equal(log.since(0), [force(0)[0]])


@pytest.mark.parametrize("steps", [0, 4])
def test_a_log_taken_up_goes_on_as_if_it_had_not_been_put_away(steps):
    log, other = EpisodeLog(2, 4, 5, 3), EpisodeLog(2, 4, 5, 3)
    other.add(force(50))
    log.begin(np.arange(2), np.ones((2, 4)), np.full((2, 5), 2.0))
    for step in range(steps):
        if step == 2:
            log.begin(np.array([0]), np.zeros((1, 4)), np.zeros((1, 5)))
        log.add(force(step))
    snapshot = log.snapshot()
    other.restore(snapshot)
    for each in (log, other):
        each.add(force(9))
        each.begin(np.array([1]), np.full((1, 4), 5.0), np.full((1, 5), 6.0))
        each.add(force(10))
    assert len(snapshot["forces"]) == steps  # its own
    for env in range(2):
        np.testing.assert_array_equal(other.since(env), log.since(env))
    assert len(log.since(0)) == (4 if steps else 2)
    for ours, theirs in zip(log.snapshot().values(), other.snapshot().values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
