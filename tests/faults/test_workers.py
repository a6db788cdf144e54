"""Workers die, hang and raise; the training continues, and nothing hangs."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import troubled
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from often import often
from troubled import BREAK, DIE, GO, HANG, LEAVE, LENGTH, PAUSE, RAISE, REFUSE, Troubled, sync

from robolearn.collect.collector import Collector
from robolearn.errors import RobolearnError
from robolearn.making import make_foreign
from robolearn.workers import pool
from robolearn.workers.batches import merge_infos, split_evenly
from robolearn.workers.pool import WorkerError
from robolearn.workers.process import Worker
from robolearn.workers.vector import FaultTolerantVectorEnv
from robolearn_envs.engines.base import SimulationError

SAME_STEP = AutoresetMode.SAME_STEP
HERE = Path(__file__).parent

cartpole = partial(
    gym.make_vec,
    "CartPole-v1",
    vectorization_mode="sync",
    vector_kwargs={"autoreset_mode": SAME_STEP},
)
bullet = partial(
    gym.make_vec, "robolearn/CartPoleBalance-v0", engine="bullet", autoreset_mode=SAME_STEP
)
depth = partial(  # observations are a dictionary
    gym.make_vec, "robolearn/NavDepth-v0", engine="bullet", autoreset_mode=SAME_STEP
)
keyed = partial(sync, troubled.Keyed)
calm = partial(sync, Troubled)

sigkill_is_told = pytest.warns(RuntimeWarning, match="was killed by SIGKILL")


@pytest.fixture
def workers():
    """Return a function that makes environments in workers, to be closed after the test."""
    made = []

    def make(*arguments, **options):
        made.append(FaultTolerantVectorEnv(*arguments, **options))
        return made[-1]

    yield make
    for envs in made:
        pids = envs.worker_pids
        envs.close()
        assert gone(pids)


def gone(pids, seconds=0.0, *, there=lambda pid: Path(f"/proc/{pid}").exists()):
    """Return whether no process is left, not even as a zombie, after some seconds at the most."""
    until = time.monotonic() + seconds
    while left := [pid for pid in pids if there(pid)]:
        if time.monotonic() > until:
            return not left
        time.sleep(0.01)
    return True


def running(pid):
    """Return whether a process is more than a zombie, which an orphan may stay for a while."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def same(one, other):
    """Return whether two nested structures are equal to the bit, types of arrays included."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return same(list(one), list(other)) if one.dtype == object else np.array_equal(one, other)
    return bool(one == other)


def actions(*done):
    return np.array(done, np.int64)


# As one vector environment.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "seed"),
    [
        (cartpole, 7),
        (cartpole, [5, 3, 8, 1, 2]),
        (bullet, 7),
        (bullet, [5, 3, 8, 1, 2]),
        (depth, 7),
        (keyed, 7),
    ],
)
def test_trajectories_are_bitwise_those_of_one_process(make, seed, workers):
    there, here = workers(make, 5, 2), make(5)
    assert there.action_space == here.action_space
    assert there.observation_space == here.observation_space
    assert there.metadata == here.metadata
    assert there.spec == here.spec
    assert same(there.reset(seed=seed), here.reset(seed=seed))
    here.action_space.seed(0)
    finals = 0
    for count in range(80):
        action = here.action_space.sample()
        one, other = there.step(action), here.step(action)
        assert same(one, other), f"in step {count}"
        finals += "final_obs" in one[-1]
        if count == 40:
            mask = np.array([False, True, False, False, True])
            options = {"reset_mask": mask}
            one = there.reset(options=options)
            assert same(one, here.reset(options={**options}))
            assert options["reset_mask"] is mask  # and is left as it was
    assert finals or make is depth
    here.close()


def test_environments_are_split_evenly_between_workers(workers):
    assert split_evenly(7, 3) == [slice(0, 3), slice(3, 5), slice(5, 7)]  # 7 = 3 + 2 + 2
    assert workers(calm, 2, 5).env_slices == [slice(0, 1), slice(1, 2)]  # no worker without any


def test_a_mask_resets_only_who_is_meant_and_asks_no_other_worker(workers):
    envs = workers(calm, 4, 2)
    envs.reset(seed=0)
    before, *_ = envs.step(actions(GO, GO, GO, GO))
    after, info = envs.reset(options={"reset_mask": np.array([False, True, False, False])})
    assert envs.call(troubled.resets) == [[1, 2], [1, 1]]
    np.testing.assert_array_equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert after[1, 1] == 0  # steps
    np.testing.assert_array_equal(info["_drawn"], [False, True, False, False])
    np.testing.assert_array_equal(info["drawn"][[0, 2, 3]], 0.0)


def test_observations_handed_out_are_not_written_to_again(workers):
    envs = workers(calm, 2, 1)
    first, _ = envs.reset(seed=0)
    kept = first.copy()
    second, *_ = envs.step(actions(GO, GO))
    np.testing.assert_array_equal(first, kept)
    second[:] = -1.0  # nor does writing to them reach what is remembered
    with sigkill_is_told:
        *_, info = envs.step(actions(DIE, GO))
    np.testing.assert_array_equal(info["final_obs"][1], [kept[1, 0], 1])


def test_what_some_slices_do_not_tell_is_filled_as_gymnasium_does():
    space = gym.spaces.Box(0.0, 9.0, (2,), np.float32)
    told = {
        "speed": np.array([[1.5, 2.5]]),
        "_speed": np.array([True]),
        "word": np.array(["left"], dtype=object),
        "_word": np.array([True]),
        "final_obs": np.array([[3.0, 4.0]], np.float32),
        "_final_obs": np.array([True]),
        "final_info": {"success": np.array([True]), "_success": np.array([True])},
        "_final_info": np.array([True]),
        "clock": 8.0,
        "path": [1, 2],
    }
    info = merge_infos([{}, told], [2, 1], space)
    mask = np.array([False, False, True])
    words = np.array([None, None, "left"], dtype=object)
    paths = np.full(3, None, dtype=object)
    paths[2] = [1, 2]
    assert same(
        info,
        {
            "speed": np.array([[0.0, 0.0], [0.0, 0.0], [1.5, 2.5]]),
            "_speed": mask,
            "word": words,
            "_word": mask,
            "final_obs": np.array([[0, 0], [0, 0], [3, 4]], np.float32),
            "_final_obs": mask,
            "final_info": {"success": mask, "_success": mask},
            "_final_info": mask,
            "clock": np.array([0.0, 0.0, 8.0]),
            "_clock": mask,
            "path": paths,
            "_path": mask,
        },
    )


def test_final_observations_of_both_forms_are_merged_into_objects():
    space = gym.spaces.Box(0.0, 9.0, (2,), np.float32)
    one = np.full(1, None, dtype=object)
    one[0] = np.array([1.0, 2.0], np.float32)
    batch = {"final_obs": np.array([[3.0, 4.0]], np.float32), "_final_obs": np.array([True])}
    info = merge_infos(
        [{"final_obs": one, "_final_obs": np.array([True])}, {}, batch], [1] * 3, space
    )
    assert info["_final_obs"].tolist() == [True, False, True]
    assert [None if obs is None else obs.tolist() for obs in info["final_obs"]] == [
        [1, 2],
        None,
        [3, 4],
    ]


def test_call_passes_every_worker_an_argument_of_its_own(workers):
    envs = workers(calm, 3, 2)
    envs.reset(seed=0)
    envs.step(actions(GO, GO, GO))
    assert envs.call(troubled.steps, 10, 20) == [[10, 10], [20]]
    with pytest.raises(ValueError, match="one argument for each of 2 workers, got 1"):
        envs.call(troubled.steps, 10)


def test_workers_import_no_torch(workers):
    assert workers(bullet, 2, 2).call(troubled.imported, "torch", "torch") == [False, False]


def test_importing_workers_imports_no_torch():
    code = "import sys, robolearn.workers.vector; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_workers_compute_on_one_thread_and_the_parent_as_before(workers):
    before = dict(os.environ)
    expected = os.environ.get("OMP_NUM_THREADS", "1")
    told = workers(calm, 2, 2).call(troubled.variable, "OMP_NUM_THREADS", "OMP_NUM_THREADS")
    assert told == [expected, expected]
    assert dict(os.environ) == before


def test_where_no_server_can_fork_them_workers_are_started_anew(workers, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    envs = workers(calm, 2, 1)
    assert "Spawn" in type(envs._pool.workers[0].process).__name__
    envs.reset(seed=0)
    assert envs.step(actions(GO, GO))[0][:, 1].tolist() == [1, 1]
    assert envs.call(troubled.imported, "torch") == [False]


# Failures.


def kill(pid, at):
    at.append(time.monotonic())
    os.kill(pid, signal.SIGKILL)


def until_failure(envs, obs, rng):
    """Return the observations before the step in which a worker fails, and that step."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        step = envs.step(rng.integers(2, size=envs.num_envs))
        if "worker_failed" in step[-1]:
            return obs, step
        obs = step[0]
    raise AssertionError("no worker failed")


def test_workers_killed_at_random_moments_are_noticed_and_the_training_goes_on(workers):
    rng = np.random.default_rng(0)
    left = often(3, 100)
    while left:
        envs = workers(cartpole, 8, 3)  # anew after four failures: the fifth would end it
        for _ in range(min(left, pool.MAX_FAILURES - 1)):
            left -= 1
            k = int(rng.integers(3))
            killed_at = []
            killer = threading.Timer(rng.uniform(0.0, 0.02), kill, (envs.worker_pids[k], killed_at))
            name = {0: "envs 0 to 2", 1: "envs 3 to 5", 2: "envs 6 to 7"}[k]
            obs, _ = envs.reset(seed=int(rng.integers(1000)))
            killer.start()
            with pytest.warns(
                RuntimeWarning, match=rf"worker of {name} failed .* was killed by SIGKILL"
            ):
                before, (_, reward, terminated, truncated, info) = until_failure(envs, obs, rng)
            killer.join()
            assert time.monotonic() < killed_at[0] + 2.0
            rows = envs.env_slices[k]
            np.testing.assert_array_equal(np.flatnonzero(info["worker_failed"]), np.arange(8)[rows])
            assert not reward[rows].any()
            assert not terminated[rows].any()
            assert truncated[rows].all()
            np.testing.assert_array_equal(np.stack(list(info["final_obs"][rows])), before[rows])
            for _ in range(5):
                _, reward, *_, info = envs.step(rng.integers(2, size=8))
                assert (reward == 1.0).all()
                assert "worker_failed" not in info
        pids = envs.worker_pids
        envs.close()
        assert gone(pids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "why"),
    [
        (DIE, "it was killed by SIGKILL"),
        (LEAVE, "it exited with code 7"),
        (RAISE, "it raised RuntimeError: the motor is on fire"),
        (HANG, "it did not answer 'step' within 0.5 s"),
    ],
)
def test_a_failure_truncates_the_slice_and_no_other_environment(action, why, workers):
    envs = workers(calm, 4, 2, step_timeout=0.5)
    envs.reset(seed=0)
    for _ in range(2):
        before, *_ = envs.step(actions(GO, GO, GO, GO))
    with pytest.warns(RuntimeWarning) as warned:
        obs, reward, terminated, truncated, info = envs.step(actions(GO, GO, action, GO))
    assert [str(warning.message) for warning in warned] == [
        f"The worker of envs 2 to 3 failed (failure 1): {why}. Their episodes are truncated, and "
        "new ones start in a new process."
    ]
    assert warned[0].filename == __file__
    failed = [False, False, True, True]
    assert reward.tolist() == [1, 1, 0, 0]
    assert terminated.tolist() == [False] * 4
    assert truncated.tolist() == failed
    assert info["worker_failed"].tolist() == info["_worker_failed"].tolist() == failed
    assert info["_final_obs"].tolist() == failed
    assert info["final_obs"][0] is None
    np.testing.assert_array_equal(np.stack(list(info["final_obs"][2:])), before[2:])
    assert obs[:, 1].tolist() == [3, 3, 0, 0]  # steps of the running and of the new episodes
    assert set(obs[2:, 0]).isdisjoint(before[2:, 0])  # which drew other numbers
    obs, reward, _, truncated, info = envs.step(actions(GO, GO, GO, GO))
    assert obs[:, 1].tolist() == [4, 4, 1, 1]
    assert reward.tolist() == [1, 1, 1, 1]
    assert not truncated.any()
    assert "worker_failed" not in info


def test_nothing_is_claimed_of_failed_episodes_where_others_end_as_a_success(workers):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    for _ in range(LENGTH - 1):
        envs.step(actions(GO, GO))
    with sigkill_is_told:
        *_, terminated, _, info = envs.step(actions(GO, DIE))
    assert terminated.tolist() == [True, False]
    outcome = info["final_info"]
    assert outcome["success"].tolist() == outcome["_success"].tolist() == [True, False]
    assert info["_final_info"].tolist() == [True, False]
    assert info["_final_obs"].tolist() == [True, True]
    assert info["final_obs"][0][1] == LENGTH
    assert info["final_obs"][1][1] == LENGTH - 1


def test_last_observations_of_failed_native_environments_come_as_a_batch(workers):
    envs = workers(depth, 2, 2)
    before, _ = envs.reset(seed=0)
    os.kill(envs.worker_pids[1], signal.SIGKILL)
    with sigkill_is_told:
        *_, info = envs.step(np.zeros(envs.action_space.shape, envs.action_space.dtype))
    assert info["final_obs"].keys() == before.keys()
    for key, final in info["final_obs"].items():
        np.testing.assert_array_equal(final[1], before[key][1])
        assert not final[0].any()
    assert info["_final_obs"].tolist() == [False, True]


def test_workers_that_hang_are_killed_when_their_time_is_up(workers):
    envs = None
    for count in range(often(1, 20)):
        if count % 4 == 0:
            envs = workers(calm, 4, 2, step_timeout=0.5)
            envs.reset(seed=count)
        pid = envs.worker_pids[1]
        begun = time.monotonic()
        with pytest.warns(
            RuntimeWarning, match=r"envs 2 to 3 failed .* answer 'step' within 0\.5 s"
        ):
            *_, info = envs.step(actions(GO, GO, HANG, GO))
        assert 0.5 <= time.monotonic() - begun < 2.5
        assert info["worker_failed"].tolist() == [False, False, True, True]
        assert gone([pid])
        assert "worker_failed" not in envs.step(actions(GO, GO, GO, GO))[-1]


@pytest.mark.slow
def test_a_stopped_worker_that_reads_no_large_actions_hangs_nobody(workers):
    envs = workers(partial(sync, troubled.Wide), 2, 2, step_timeout=0.5)
    envs.reset(seed=0)
    push = np.zeros(envs.action_space.shape, np.float32)
    envs.step(push)
    os.kill(envs.worker_pids[0], signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.warns(RuntimeWarning, match=r"env 0 failed .* did not answer 'step'"):
        *_, info = envs.step(push)
    assert time.monotonic() - begun < 2.5
    assert info["worker_failed"].tolist() == [True, False]


def test_environments_that_raise_begin_anew_again_and_again(workers):
    envs = None
    for count in range(often(2, 20)):
        if count % 4 == 0:
            envs = workers(calm, 4, 2)
            envs.reset(seed=count)
        begun = time.monotonic()
        with pytest.warns(RuntimeWarning, match=r"envs 0 to 1 failed .* raised RuntimeError"):
            *_, info = envs.step(actions(GO, RAISE, GO, GO))
        assert time.monotonic() - begun < 2.0
        assert info["worker_failed"].tolist() == [True, True, False, False]
        assert "worker_failed" not in envs.step(actions(GO, GO, GO, GO))[-1]


def test_the_same_seed_and_failures_give_the_same_numbers(workers):
    def run():
        envs = workers(calm, 4, 2)
        seen = [envs.reset(seed=11)[0]]
        for action in (GO, RAISE, GO, RAISE):
            with pytest.warns(RuntimeWarning) if action == RAISE else nullcontext():
                seen.append(envs.step(actions(GO, GO, GO, action))[0])
        return np.stack(seen)

    one = run()
    np.testing.assert_array_equal(one, run())
    drawn = one[:, 3, 0]
    assert len(set(drawn)) == 3  # of the reset and of two failures


def test_several_workers_failed_in_one_step_are_all_named(workers):
    envs = workers(calm, 3, 3)
    envs.reset(seed=0)
    with pytest.warns(RuntimeWarning) as warned:
        *_, truncated, info = envs.step(actions(RAISE, GO, DIE))
    assert [str(w.message).split(":")[0] for w in warned] == [
        "The worker of env 0 failed (failure 1)",
        "The worker of env 2 failed (failure 2)",
    ]
    assert truncated.tolist() == info["worker_failed"].tolist() == [True, False, True]


def test_a_worker_dead_before_a_reset_is_replaced_in_it(workers):
    envs = workers(calm, 4, 2)
    envs.reset(seed=0)
    envs.step(actions(GO, GO, GO, GO))
    os.kill(envs.worker_pids[0], signal.SIGKILL)
    with pytest.warns(RuntimeWarning, match=r"envs 0 to 1 failed .* SIGKILL"):
        obs, info = envs.reset(options={"reset_mask": np.array([False, True, False, False])})
    assert obs[:, 1].tolist() == [0, 0, 1, 1]  # env 0 has begun anew without being asked to
    assert (
        info["worker_failed"].tolist()
        == info["_worker_failed"].tolist()
        == [True, True, False, False]
    )
    assert envs.step(actions(GO, GO, GO, GO))[0][:, 1].tolist() == [1, 1, 2, 2]


def test_environments_that_raise_in_a_reset_get_another_seed(workers):
    envs = workers(partial(sync, Troubled, bad_reset=2**40), 2, 2)
    with pytest.warns(RuntimeWarning, match="seed 1099511627777 is not to my taste"):
        obs, info = envs.reset(seed=[5, 2**40 + 1])
    assert obs[:, 1].tolist() == [0, 0]
    assert info["worker_failed"].tolist() == [False, True]


def test_a_worker_that_hangs_in_a_reset_is_replaced(workers):
    envs = workers(calm, 2, 2, step_timeout=0.5)
    envs.reset(seed=0)
    begun = time.monotonic()
    os.kill(envs.worker_pids[1], signal.SIGSTOP)
    with pytest.warns(
        RuntimeWarning, match=r"env 1 failed .* did not answer 'reset' within 0\.5 s"
    ):
        _, info = envs.reset(seed=0)
    assert time.monotonic() - begun < 2.5
    assert info["worker_failed"].tolist() == [False, True]


def test_an_option_no_environment_can_grant_ends_with_its_traceback(workers):
    envs = workers(calm, 2, 2)
    with pytest.warns(RuntimeWarning), pytest.raises(WorkerError, match="motor is on fire"):
        envs.reset(seed=0, options={"act": RAISE})


def test_it_gives_up_after_five_failures_in_a_minute(workers):
    envs = workers(calm, 4, 2)
    envs.reset(seed=0)
    pids = {*envs.worker_pids}
    for action in [(RAISE, GO, GO, GO), (GO, GO, GO, RAISE)] * 2:
        with pytest.warns(RuntimeWarning):
            envs.step(actions(*action))
        pids |= {*envs.worker_pids}
    assert len(pids) == 6
    with pytest.raises(WorkerError) as gave_up:
        envs.step(actions(GO, GO, RAISE, GO))
    first, *rest = str(gave_up.value).splitlines()
    assert first == (
        "Workers failed 5 times within 60 s, the last time that of envs 2 to 3: it raised "
        "RuntimeError: the motor is on fire. Check the environment."
    )
    assert any("troubled.py" in line and "in act" in line for line in rest)  # the traceback
    assert gave_up.value.exit_code == 4
    assert isinstance(gave_up.value, RobolearnError)
    assert gone(pids)
    with pytest.raises(ClosedEnvironmentError):
        envs.step(actions(GO, GO, GO, GO))


def test_the_signal_is_told_when_it_gives_up(workers, monkeypatch):
    monkeypatch.setattr(pool, "MAX_FAILURES", 1)
    envs = workers(calm, 1, 1)
    envs.reset(seed=0)
    with pytest.raises(WorkerError, match="that of env 0: it was killed by SIGKILL"):
        envs.step(actions(DIE))


def test_failures_far_apart_are_no_reason_to_give_up(workers, monkeypatch):
    monkeypatch.setattr(pool, "FAILURE_WINDOW_S", 0.0)
    envs = workers(calm, 1, 1)
    envs.reset(seed=0)
    for _ in range(6):
        with pytest.warns(RuntimeWarning, match="raised RuntimeError"):
            envs.step(actions(RAISE))


def test_failures_leave_no_open_files_behind(workers):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(4):
        with pytest.warns(RuntimeWarning):
            envs.step(actions(GO, DIE))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
@pytest.mark.parametrize("make", [cartpole, depth], ids=["array", "dictionary"])
def test_a_collector_goes_on_after_a_worker_was_killed(make, workers):
    envs = workers(make, 4, 2)
    collector = Collector(envs, seed=0, stagger=20)
    action = np.zeros(envs.action_space.shape, envs.action_space.dtype)
    for _ in range(5):
        collector.step(action)
    before = collector.obs
    os.kill(envs.worker_pids[1], signal.SIGKILL)
    with sigkill_is_told:
        step = collector.step(action)
    assert step.done[2:].all()
    assert not step.terminated[2:].any()
    np.testing.assert_array_equal(step.next_obs[2:], before[2:])  # they stayed where they were
    for _ in range(30):
        step = collector.step(action)
        assert step.valid.all()


# Mistakes of the caller.


def raised(function, *arguments, **options):
    """Return the type and the words of what a call raises."""
    with pytest.raises(Exception) as error:  # noqa: PT011
        function(*arguments, **options)
    return error.type, str(error.value)


push = partial(
    gym.make_vec, "robolearn/CartPoleSwingUp-v0", engine="bullet", autoreset_mode=SAME_STEP
)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda envs: envs.reset(options={"layuot": {}}),
        lambda envs: envs.reset(options={"layuot": {}, "reset_mask": np.arange(4) == 3}),
        lambda envs: envs.step(np.array([[0.0], [0.0], [np.nan], [0.0]], np.float32)),
        lambda envs: envs.step(np.zeros((5, 1), np.float32)),
    ],
    ids=["option", "option of one", "not finite", "shape"],
)
def test_a_mistake_is_raised_as_in_one_process_and_episodes_go_on(mistake, workers):
    there, here = workers(push, 4, 2), push(4)
    action = np.ones((4, 1), np.float32)
    pids = there.worker_pids
    for envs in (there, here):
        envs.reset(seed=3)
        envs.step(action)
    told = raised(mistake, there)
    assert told == raised(mistake, here)
    assert told[0] is ValueError
    assert there.worker_pids == pids
    assert same(there.step(action), here.step(action))
    here.close()


def test_an_environment_that_refuses_an_action_keeps_its_episode_and_its_process(workers):
    envs = workers(calm, 4, 2)
    pids = envs.worker_pids
    envs.reset(seed=0)
    for _ in range(LENGTH - 1):  # as often as workers may not fail
        told = raised(envs.step, actions(GO, GO, GO, REFUSE))
        assert told == (TypeError, "the motor takes\nno such action")
    assert envs.worker_pids == pids
    obs, _, terminated, _, info = envs.step(actions(GO, GO, GO, GO))
    assert "worker_failed" not in info
    # The environments whose actions were accepted made each step; the sixth ends an episode.
    assert terminated.tolist() == [True, True, True, False]
    assert obs[3, 1] == 1


def test_a_mistake_has_the_traceback_in_the_worker_as_a_note(workers):
    envs = workers(calm, 1, 1)
    envs.reset(seed=0)
    with pytest.raises(TypeError) as refused:
        envs.step(actions(REFUSE))
    assert "in act" in refused.value.__notes__[0]


def test_after_a_mistake_the_last_observations_are_the_latest(workers):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    assert raised(envs.step, actions(GO, REFUSE))[0] is TypeError
    with sigkill_is_told:
        *_, info = envs.step(actions(DIE, GO))
    assert info["final_obs"][0][1] == 1  # it had made the step in which the other one refused


def test_options_refused_by_a_worker_just_replaced_are_raised_too(workers):
    envs = workers(calm, 1, 1)
    os.kill(envs.worker_pids[0], signal.SIGKILL)
    with sigkill_is_told, pytest.raises(TypeError, match="no such action"):
        envs.reset(seed=0, options={"act": REFUSE})
    assert envs.reset(seed=0)[0][:, 1].tolist() == [0]


# Calls.


def test_call_raises_where_a_worker_is_dead_and_the_next_step_replaces_it(workers):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    with pytest.raises(
        WorkerError, match="end failed in the worker of env 0: it was killed by SIGK"
    ):
        envs.call(troubled.end)
    with pytest.warns(RuntimeWarning) as warned:
        *_, info = envs.step(actions(GO, GO))
    assert len(warned) == 2
    assert info["worker_failed"].all()


def test_call_raises_what_a_function_raised_and_no_environment_is_failed(workers):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    with pytest.raises(
        WorkerError, match=r"complain failed in the worker of env 0: it raised KeyError"
    ) as e:
        envs.call(troubled.complain, "one", "two")
    assert "in complain" in str(e.value)
    assert "worker_failed" not in envs.step(actions(GO, GO))[-1]


# Ctrl-C.


def test_ctrl_c_does_not_reach_the_workers(workers):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    for pid in envs.worker_pids:
        os.kill(pid, signal.SIGINT)
    obs, *_, info = envs.step(actions(GO, GO))
    assert obs[:, 1].tolist() == [1, 1]
    assert "worker_failed" not in info


def test_after_an_interrupted_step_answers_belong_to_their_questions(workers):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            envs.step(actions(PAUSE, GO))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert envs.call(troubled.steps, 1, 10) == [[1], [10]]  # not the answers of the step
    assert envs.step(actions(GO, GO))[0][:, 1].tolist() == [2, 2]


def failing_once(error):
    """Return a way to start workers that fails the first time."""
    errors = [error]

    def start(*arguments):
        if errors:
            raise errors.pop()
        return Worker(*arguments)

    return start


def test_a_process_that_cannot_be_started_is_a_failure_and_tried_again(workers, monkeypatch):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    monkeypatch.setattr(pool, "Worker", failing_once(OSError("no memory")))
    with pytest.warns(RuntimeWarning) as warned:
        *_, info = envs.step(actions(GO, DIE))
    assert info["worker_failed"].tolist() == [False, True]
    assert [str(warning.message).split(". ")[0] for warning in warned] == [
        "The worker of env 1 failed (failure 1): it was killed by SIGKILL",
        "The worker of env 1 failed (failure 2): no new process could be started: no memory",
    ]


def test_ctrl_c_before_a_new_process_is_started_leaves_that_to_the_next_step(workers, monkeypatch):
    envs = workers(calm, 2, 2)
    envs.reset(seed=0)
    monkeypatch.setattr(pool, "Worker", failing_once(KeyboardInterrupt()))
    with pytest.warns(RuntimeWarning, match="failure 1"), pytest.raises(KeyboardInterrupt):
        envs.step(actions(GO, DIE))
    with pytest.warns(RuntimeWarning, match="failure 2"):
        *_, info = envs.step(actions(GO, GO))
    assert info["worker_failed"].tolist() == [False, True]


# Environments that cannot be made.


def processes():
    """Return the children of the server that forks workers, besides itself."""
    own, children = str(os.getpid()), {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.parent.name, stat.read_text().rsplit(")", 1)[1]
        except OSError:
            continue
        children.setdefault(rest.split()[1], []).append(pid)
    return sorted(pid for child in children.get(own, []) for pid in children.get(child, []))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (troubled.refuse, r"^no simulator here: pip install simulator"),
        (troubled.leave, r"envs 0 to 2 could not make them: it exited with code 3\."),
        (partial(sync, Troubled, mode=AutoresetMode.DISABLED), r"autoreset_mode .*, got .*DISABL"),
        (lambda count: calm(count), r"make must be picklable"),
        (troubled.varied, r"single_observation_space of envs 0 to 2 is .*, of envs 3 to 4"),
        (partial(gym.make_vec, "robolearn/Nothing-v0"), r"Nothing"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once_and_leaves_no_process(make, message, workers):
    workers(calm, 1, 1).close()  # the server is there
    before = processes()
    begun = time.monotonic()
    with pytest.raises(RobolearnError, match=message) as refused:
        FaultTolerantVectorEnv(make, 5, 2)
    assert type(refused.value) is RobolearnError
    assert processes() == before
    assert time.monotonic() - begun < 2.0


def test_the_traceback_goes_along_with_what_a_refusing_environment_says():
    with pytest.raises(RobolearnError) as refused:
        FaultTolerantVectorEnv(troubled.refuse, 2, 1)
    assert str(refused.value) == "no simulator here: pip install simulator"
    assert "in refuse" in refused.value.__notes__[0]


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        ((0, 1), {}, "at least 1, got 0 and 1"),
        ((2, 0), {}, "at least 1, got 2 and 0"),
        ((2, 1), {"step_timeout": 0.0}, "step_timeout must be above 0 seconds, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers, options, message):
    with pytest.raises(RobolearnError, match=message):
        FaultTolerantVectorEnv(calm, *numbers, **options)


def test_requests_that_cannot_be_are_refused_without_a_loss(workers):
    envs = workers(calm, 2, 2)
    with pytest.raises(ResetNeeded):
        envs.step(actions(GO, GO))
    with pytest.raises(ValueError, match="first reset must be of all"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"Actions must have shape \(2,\), got \(3,\)"):
        envs.step(actions(GO, GO, GO))
    with pytest.raises(ValueError, match="seed must list 2 seeds, got 3"):
        envs.reset(seed=[1, 2, 3])
    for mask in (np.array([True]), np.array([0, 1]), np.array([False, False])):
        with pytest.raises(ValueError, match="reset_mask"):
            envs.reset(options={"reset_mask": mask})


# The end.


def test_closing_leaves_no_process_and_may_be_repeated(workers):
    envs = workers(calm, 4, 3)
    pids = envs.worker_pids
    assert not gone(pids)
    envs.close()
    assert gone(pids)
    envs.close()
    with pytest.raises(ClosedEnvironmentError):
        envs.reset(seed=0)


def test_closing_kills_workers_that_do_not_come_to_an_end(workers):
    envs = workers(partial(sync, Troubled, batch=troubled.Clinging), 2, 2)
    pids = envs.worker_pids
    begun = time.monotonic()
    envs.close()
    assert gone(pids)
    assert time.monotonic() - begun < 2.0


def test_environments_nobody_refers_to_any_more_leave_no_process():
    envs = FaultTolerantVectorEnv(calm, 2, 2)
    pids = envs.worker_pids
    del envs
    gc.collect()
    assert gone(pids, 1.0)


PARENT = """
import sys, threading, time
sys.path.insert(0, {here!r})
from functools import partial
import numpy as np
from robolearn.workers.process import Worker
from robolearn.workers.vector import FaultTolerantVectorEnv
from troubled import HANG, GO, Troubled, sync

if __name__ == "__main__":
    envs = FaultTolerantVectorEnv(partial(sync, Troubled), 2, 2)
    envs.reset(seed=0)
    print(*envs.worker_pids, flush=True)
    {then}
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["time.sleep(1000)", "envs.step(np.array([HANG, GO]))"])
def test_workers_of_a_killed_parent_end_by_themselves(then, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(here=str(HERE), then=then))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        pids = parent.stdout.readline().split()
        assert len(pids) == 2
        time.sleep(0.1)
        assert not gone(pids)
        parent.kill()
        assert gone(pids, 2.0, there=running)


@pytest.mark.slow
def test_a_parent_that_ends_without_closing_takes_its_workers_along(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(here=str(HERE), then="pass"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert done.stderr == ""
    pids = done.stdout.split()
    assert len(pids) == 2
    assert gone(pids, 1.0, there=running)


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "parent.py"
    text = PARENT.format(here=str(HERE), then="pass")
    script.write_text(text.replace('__name__ == "__main__"', "True"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1].endswith("if __name__ == '__main__'.")


def test_a_simulation_that_broke_down_is_no_failure_but_raises_as_it_would_in_one_process(workers):
    envs = workers(calm, 4, 2)
    envs.reset(seed=0)
    with pytest.raises(SimulationError, match="worker of env 2 on: the arm is no longer finite"):
        envs.step(np.array([GO, GO, GO, BREAK]))


rewindable = partial(make_foreign, "CartPole-v1", {"autoreset_mode": AutoresetMode.SAME_STEP}, {})


@pytest.mark.slow
@pytest.mark.parametrize(("make", "exact"), [(troubled.forgetful, False), (rewindable, True)])
def test_environments_in_workers_are_called_exact_only_if_they_came_back(make, exact, workers):
    collector = Collector(workers(make, 4, 2), 0)
    for _ in range(3):
        collector.step(np.zeros(4, np.int64))
    taken = collector.snapshot()
    again = Collector(workers(make, 4, 2), 1)
    assert again.resume(*taken) is exact
    assert np.array_equal(again.obs, collector.obs) is exact
