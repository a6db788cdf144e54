"""A vector environment is its single environments, bit for bit."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tasks_by_name import TASKS, host_engines

from robolearn_envs import ENVS, make_vec
from robolearn_envs.single import RoboEnv
from robolearn_envs.vector import RoboVectorEnv

SEED, N = 11, 3
BALANCE, SWING_UP = "robolearn/CartPoleBalance-v0", "robolearn/CartPoleSwingUp-v0"
LIDAR, DEPTH = "robolearn/NavLidar-v0", "robolearn/NavDepth-v0"
AHEAD = {LIDAR: [0.9, 0.0], DEPTH: [0.9, 0.0], "robolearn/NavRover-v0": [0.9, 0.9]}
"""Commands that drive straight on: soon into something."""
CROWDED = {LIDAR: {"level": 3}, DEPTH: {"level": 4}, "robolearn/NavRover-v0": {"level": 3}}
"""Where there is much to run into; some of it moves at level 3."""


def combinations():
    """Every id on every engine, fixed and randomized where allowed."""
    for env_id, (name, task) in zip(ENVS, TASKS.items(), strict=True):
        for engine in host_engines(name):
            yield env_id, engine, 0.0
            if task().robot.randomizable:
                yield env_id, engine, 0.2


def actions_for(env, steps):
    """Return random actions of the whole run, those of mobile robots mostly straight on."""
    env.action_space.seed(3)
    actions = [env.action_space.sample() for _ in range(steps)]
    if env.unwrapped.env_id not in AHEAD:
        return actions
    return [
        np.float32(AHEAD[env.unwrapped.env_id]) + np.float32(0.1) * action for action in actions
    ]


def row(observation, index):
    """Return one environment's part of a batch of observations."""
    if isinstance(observation, dict):
        return {name: part[index] for name, part in observation.items()}
    return observation[index]


def assert_equal(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, part in one.items():
            assert_equal(part, other[name])
    else:
        np.testing.assert_array_equal(one, other)


def run_single(env, seed, actions):
    """Return what one environment gives, reset after each episode: one row per step."""
    observation, _ = env.reset(seed=seed)
    names = tuple(env.vector_env.task.metric_docs)
    nothing = dict.fromkeys(names, 0)
    rows = [(observation, observation, 0.0, False, False, nothing, *physics(env))]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        following = env.reset()[0] if terminated or truncated else observation
        ended = terminated or truncated
        outcome = {name: info[name] for name in names} if ended else nothing
        ends = (terminated, truncated, outcome)
        rows.append((observation, following, reward, *ends, *physics(env)))
    return rows


def physics(env):
    robot = env.vector_env.robot_params(0)
    fields = tuple(getattr(robot, name) for name in robot.randomizable)
    return (*np.hstack(env.vector_env.qpos_qvel())[0], *fields)


def run_vector(env, actions):
    """Return the same rows as ``run_single`` for each environment of the vector."""
    observations, _ = env.reset(seed=SEED)
    rows = [[] for _ in range(N)]
    for step, action in enumerate([None, *actions]):
        info = {"_final_obs": np.zeros(N, bool)}
        rewards, terminated, truncated = np.zeros(N), np.zeros(N, bool), np.zeros(N, bool)
        if step:
            observations, rewards, terminated, truncated, found = env.step(action)
            info |= found
        states = np.hstack(env.qpos_qvel())
        for i in range(N):
            here = row(observations, i)
            final = info["final_obs"][i] if info["_final_obs"][i] else here
            outcome = {
                name: info["final_info"][name][i] if info["_final_obs"][i] else 0
                for name in env.unwrapped.task.metric_docs
            }
            robot = env.robot_params(i)
            fields = tuple(getattr(robot, name) for name in robot.randomizable)
            ends = (terminated[i], truncated[i], outcome)
            rows[i].append((final, here, rewards[i], *ends, *states[i], *fields))
    return rows


def assert_rows_equal(got, expected):
    for one, other in zip(got, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(("env_id", "engine", "randomize"), list(combinations()))
def test_env_i_of_a_vector_is_the_single_env_seeded_seed_plus_i(env_id, engine, randomize):
    kwargs = {"engine": engine, "domain_randomization": randomize, **CROWDED.get(env_id, {})}
    # Balancing at random lasts some 20 steps, and straight on there is something within 75 steps
    # of 0.09 m, with these seeds.
    steps = 150
    if not (env_id == BALANCE or env_id in AHEAD):
        kwargs["max_episode_steps"] = 70  # of 500 and more, to have truncations early
    vector = RoboVectorEnv(env_id, N, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
    actions = actions_for(vector, steps)
    rows = run_vector(vector, actions)
    vector.close()
    for i in [N - 1] if env_id == DEPTH else range(N):  # images take their time
        # Without gymnasium's TimeLimit; episodes of cart-poles last for 500 steps at most.
        limit = {"max_episode_steps": vector.task.max_episode_steps}
        single = RoboEnv(env_id, **kwargs | limit)
        expected = run_single(single, SEED + i, [action[i] for action in actions])
        single.close()
        assert sum(row[3] or row[4] for row in expected) >= 2  # ends of episodes
        assert_rows_equal(rows[i], expected)


@pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])
def test_env_i_does_not_depend_on_the_number_of_environments(engine):
    def last(num_envs):
        env = make_vec(SWING_UP, num_envs, engine=engine, domain_randomization=0.2)
        env.reset(seed=SEED)
        for _ in range(30):
            result = env.step(np.full((num_envs, 1), 0.3, dtype=np.float32))
        state = np.hstack(env.qpos_qvel())
        env.close()
        return np.hstack([result[0], result[1][:, None], state])

    # More than a SIMD register holds, and not a multiple of it; Bullet has a world of each.
    many = last(3 if engine == "bullet" else 11)
    for num_envs in (1, 2):
        np.testing.assert_array_equal(last(num_envs), many[:num_envs])


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ENVS)
def test_results_do_not_depend_on_the_number_of_threads(env_id):
    def outcome(threads):
        env = make_vec(env_id, 16, engine="mujoco", num_threads=threads)
        env.reset(seed=SEED)
        steps = [env.step(action)[:4] for action in actions_for(env, 4 if env_id == DEPTH else 60)]
        state = np.hstack(env.qpos_qvel())
        env.close()
        return arrays_in([steps, state])

    for one, two, four in zip(outcome(1), outcome(2), outcome(4), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, four)


@pytest.mark.parametrize("env_id", ENVS)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(env_id):
    env = make_vec(env_id, N)
    one, _ = env.reset(seed=SEED)
    again, _ = env.reset(seed=SEED)
    other, _ = env.reset(seed=SEED + N)
    env.close()
    assert_equal(one, again)
    pairs = zip(arrays_in(one), arrays_in(other), strict=True)
    assert all((here != there).all(axis=0).any() for here, there in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "engine"), [(env_id, engine) for env_id, engine, r in combinations() if r == 0.0]
)
def test_nothing_of_the_past_survives_a_seeded_reset(env_id, engine):
    def run(env):
        env.reset(seed=SEED)
        action = np.full(env.action_space.shape, 0.9, dtype=np.float32)
        return arrays_in([env.step(action)[:3] for _ in range(20 if env_id == DEPTH else 100)])

    env = make_vec(env_id, 2, engine=engine, action="continuous")
    fresh, again = run(env), run(env)
    env.close()
    for one, other in zip(again, fresh, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("env_id", ENVS)
def test_observations_beyond_the_space_are_clipped_to_it(env_id):
    env = make_vec(env_id, 2)
    env.reset(seed=SEED)
    qpos, qvel = env.qpos_qvel()
    if env_id not in AHEAD:
        qpos[:] = 5.0
    qvel[:] = -60.0
    env._engine.reset(np.arange(2), qpos, qvel, None)
    observation, *_ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    seen, space = observation, env.observation_space
    if env_id == DEPTH:
        seen, space = observation["goal"], space["goal"]
    assert (seen == space.low)[:, -2:].any()  # the speeds
    env.close()


def test_a_list_of_seeds_seeds_each_environment():
    env = make_vec(BALANCE, 3, engine="analytic")
    by_number, _ = env.reset(seed=5)
    by_list, _ = env.reset(seed=[7, 5, 6])
    np.testing.assert_array_equal(by_list, by_number[[2, 0, 1]])
    env.close()


@pytest.mark.parametrize("seed", [2**31, 2**63 - 2, 2**63, 2**100])
def test_seeds_may_be_of_any_size(seed):
    env, one = make_vec(BALANCE, 3, engine="analytic"), make_vec(BALANCE, 1, engine="analytic")
    observation, _ = env.reset(seed=seed)
    assert len(np.unique(observation, axis=0)) == 3
    for i in range(3):  # whatever the size, env i is seeded seed + i
        np.testing.assert_array_equal(one.reset(seed=seed + i)[0][0], observation[i])
    listed = make_vec(BALANCE, 3, engine="analytic")
    np.testing.assert_array_equal(listed.reset(seed=[seed, seed + 1, seed + 2])[0], observation)
    for made in (env, one, listed):
        made.close()


def test_a_list_of_seeds_may_leave_some_to_chance_and_be_an_array():
    env = make_vec(BALANCE, 3, engine="analytic")
    by_number, _ = env.reset(seed=5)
    np.testing.assert_array_equal(env.reset(seed=np.array([5, 6, 7]))[0], by_number)
    drawn = [env.reset(seed=[5, None, 7])[0] for _ in range(2)]
    for observation in drawn:
        np.testing.assert_array_equal(observation[[0, 2]], by_number[[0, 2]])
    assert (drawn[0][1] != drawn[1][1]).all()
    env.close()


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, [1, 2, -3], [1, 2, 0.5]])
def test_a_seed_must_be_an_integer_of_at_least_0(seed):
    env = make_vec(BALANCE, 3, engine="analytic")
    with pytest.raises(ValueError, match=r"^A seed must be an integer of at least 0, got"):
        env.reset(seed=seed)
    env.close()


def test_a_reset_without_a_seed_starts_another_episode_of_the_same_stream():
    env = make_vec(BALANCE, 3, engine="analytic")
    first, _ = env.reset(seed=5)
    second, _ = env.reset()
    assert (first != second).all()
    env.reset(seed=5)
    again, _ = env.reset()
    np.testing.assert_array_equal(again, second)
    env.close()


def test_a_first_reset_without_a_seed_differs_from_env_to_env_and_from_run_to_run():
    starts = []
    for _ in range(2):
        env = make_vec(BALANCE, 3, engine="analytic")
        starts.extend(env.reset()[0].tolist())
        env.close()
    assert len({tuple(start) for start in starts}) == 6


def arrays_in(result):
    """Return every array of a step's result, those within its info included."""
    if result is None:
        return []
    if isinstance(result, np.ndarray) and result.dtype != object:
        return [result]
    children = result.values() if isinstance(result, dict) else result
    return [array for child in children for array in arrays_in(child)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "steps"),
    [(BALANCE, 40), (LIDAR, 70), (DEPTH, 60)],
    ids=["balance", "lidar", "depth"],
)
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_results_share_no_memory_with_each_other_or_with_the_next(env_id, steps, mode):
    randomize = 0.0 if env_id == BALANCE else 0.2  # noisy readings are remembered, too
    kwargs = {"engine": "analytic", "autoreset_mode": mode, "domain_randomization": randomize}
    env = make_vec(env_id, 4, action="continuous", **kwargs)
    forward = [1.0] if env_id == BALANCE else [1.0, 0.0]
    results = arrays_in(env.reset(seed=SEED))
    ends = 0
    for _ in range(steps):
        result = env.step(np.broadcast_to(np.float32(forward), env.action_space.shape))
        results += arrays_in(result)
        ended = result[2] | result[3]
        ends += ended.any()
        if mode is AutoresetMode.DISABLED and ended.any():
            results += arrays_in(env.reset(options={"reset_mask": ended}))
    assert ends > 0
    episodes = env._episodes
    live = [episodes.needs_reset, episodes.step_count, env._engine.qpos, env._engine.qvel]
    live += [*env.task_state.values(), *env.parameters.values()]
    for one, other in itertools.combinations([*results, *live], 2):
        assert not np.shares_memory(one, other)
    env.close()


def test_writing_into_an_observation_does_not_move_the_simulation():
    env = make_vec(SWING_UP, 2)
    observation, _ = env.reset(seed=SEED)
    observation[:] = 99.0
    for array in env.qpos_qvel():
        array[:] = 99.0
    after, *_ = env.step(np.zeros((2, 1), dtype=np.float32))
    assert (np.abs(after) < 5.0).all()
    env.close()


EPISODES = 3
SCRIPT = np.random.default_rng(0).integers(2, size=(N, EPISODES + 1, 500))  # random actions


def episodes_of(mode):
    """Return the transitions of each environment's first episodes: [env][episode] -> rows.

    An environment's action depends on nothing but its episode and the step in it.
    """
    env = make_vec(BALANCE, N, engine="analytic", autoreset_mode=mode)
    observation, _ = env.reset(seed=SEED)
    record, resetting = [[[]] for _ in range(N)], np.zeros(N, bool)
    while min(len(episodes) for episodes in record) <= EPISODES:
        position = [(min(len(episodes) - 1, EPISODES), len(episodes[-1])) for episodes in record]
        actions = np.array([SCRIPT[i, episode, step] for i, (episode, step) in enumerate(position)])
        following, reward, terminated, truncated, info = env.step(actions)
        done = terminated | truncated
        success = info.get("final_info", info).get("success", np.zeros(N, bool))
        reached = following.copy()
        for i in np.flatnonzero(info.get("_final_obs", np.zeros(N, bool))):
            reached[i] = info["final_obs"][i]
        for i in np.flatnonzero(~resetting):
            ends = (terminated[i], truncated[i], success[i])
            record[i][-1].append((observation[i], actions[i], reward[i], reached[i], *ends))
        if mode is AutoresetMode.DISABLED and done.any():
            following, _ = env.reset(options={"reset_mask": done})
        begun = resetting if mode is AutoresetMode.NEXT_STEP else done
        for i in np.flatnonzero(begun):
            record[i].append([])
        resetting = done if mode is AutoresetMode.NEXT_STEP else resetting
        observation = following
    env.close()
    return [episodes[:EPISODES] for episodes in record]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_autoreset_modes_give_the_same_transitions(mode):
    expected, got = episodes_of(AutoresetMode.SAME_STEP), episodes_of(mode)
    lengths = [[len(episode) for episode in episodes] for episodes in expected]
    assert len(set(np.ravel(lengths))) > 1  # the environments do not end in step
    for one, other in zip(got, expected, strict=True):
        for rows, expected_rows in zip(one, other, strict=True):
            assert_rows_equal(rows, expected_rows)


def test_the_step_after_an_end_is_a_reset_without_reward_in_next_step_mode():
    env = make_vec(BALANCE, 2, engine="analytic", autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset(seed=SEED)
    terminated = np.zeros(2, bool)
    while not terminated.any():
        _, _, terminated, _, info = env.step(np.ones(2, dtype=np.int64))
    np.testing.assert_array_equal(info["_success"], terminated)
    observation, reward, after, truncated, info = env.step(np.ones(2, dtype=np.int64))
    ended = np.flatnonzero(terminated)
    assert (np.abs(observation[ended]) <= 0.05).all()  # where episodes of Balance start
    np.testing.assert_array_equal(reward[ended], 0.0)
    assert not (after | truncated)[ended].any()
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize(
    ("env_id", "randomize", "steps"),
    [
        (BALANCE, 0.0, 120),
        (BALANCE, 0.2, 120),
        (SWING_UP, 0, 520),
        (LIDAR, 0.2, 150),
        (DEPTH, 0, 150),
    ],
)
def test_native_vector_equals_gymnasiums_sync_vector(mode, env_id, randomize, steps):
    kwargs = {"engine": "analytic", "domain_randomization": randomize}
    native = make_vec(env_id, N, autoreset_mode=mode, **kwargs)
    sync = SyncVectorEnv([lambda: gym.make(env_id, **kwargs)] * N, autoreset_mode=mode)
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space
    assert_equal(native.reset(seed=SEED)[0], sync.reset(seed=SEED)[0])
    ends = 0
    for action in actions_for(native, steps):
        *got, info = native.step(action)
        *expected, expected_info = sync.step(action)
        for one, other in zip(arrays_in(got), arrays_in(expected), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        assert_same_info(info, expected_info, got[2] | got[3], mode)
        ends += np.count_nonzero(got[2] | got[3])
    assert ends >= N
    native.close()
    sync.close()


def assert_same_info(got, expected, done, mode):
    """Compare infos: what ours says it says of whom its masks name, and of these the same.

    A single environment tells its measures at every step, of which ours tells those of ends.
    """
    assert ("final_info" in got) == (mode is AutoresetMode.SAME_STEP and done.any())
    told = "final_info" in got or "reward_terms" in got or "success" in got
    assert told or not done.any()
    got = dict(got)
    if "final_info" in got:
        assert got["final_obs"].dtype == expected["final_obs"].dtype == object
        for one, other in zip(got.pop("final_obs"), expected["final_obs"], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert_equal(one, other)
        # Terms of the last reward, which Gymnasium puts beside what the reset told.
        if "reward_terms" in got:
            last = expected["final_info"]["reward_terms"]
            for name, terms in got.pop("reward_terms").items():
                source = np.where(done, last[name], expected["reward_terms"][name])
                np.testing.assert_array_equal(terms, source)
            del got["_reward_terms"]
    assert_masked_equal(got, expected)


def assert_masked_equal(got, expected):
    for name, part in got.items():
        if name.startswith("_"):
            continue
        mask = got[f"_{name}"]
        assert mask.any()
        assert expected[f"_{name}"][mask].all()
        if isinstance(part, dict):
            assert_masked_equal(part, expected[name])
        else:
            assert not part[~mask].any()
            np.testing.assert_array_equal(part[mask], expected[name][mask])


def test_gymnasium_vectorizes_our_single_envs_by_name():
    env = gym.make_vec(BALANCE, num_envs=2, vectorization_mode="sync")
    native = gym.make_vec(BALANCE, num_envs=2)
    assert isinstance(env.unwrapped, SyncVectorEnv)
    np.testing.assert_array_equal(env.reset(seed=3)[0], native.reset(seed=3)[0])
    env.close()
    native.close()


def test_stepping_an_ended_env_needs_a_reset_when_autoreset_is_disabled():
    env = make_vec(BALANCE, 3, engine="analytic", autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=SEED)
    terminated = np.zeros(3, bool)
    while not terminated.any():
        _, _, terminated, *_ = env.step(np.ones(3, dtype=np.int64))
    with pytest.raises(ResetNeeded, match=f"Env {np.flatnonzero(terminated)[0]} "):
        env.step(np.ones(3, dtype=np.int64))
    env.reset(options={"reset_mask": terminated})
    env.step(np.ones(3, dtype=np.int64))
    env.close()


def test_a_masked_reset_leaves_the_other_envs_alone():
    env = make_vec(SWING_UP, 3, engine="analytic", autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=SEED)
    for _ in range(20):
        before, *_ = env.step(np.ones((3, 1), dtype=np.float32))
    after, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    env.close()
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert abs(after[1, 0]) <= 0.1  # back at the start; after 0.4 s of push x was beyond
    assert before[1, 0] > 0.2


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_stepping_before_the_first_reset_needs_a_reset(mode):
    env = make_vec(BALANCE, 2, engine="analytic", autoreset_mode=mode)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        env.step(np.ones(2, dtype=np.int64))
    env.close()


def test_single_env_needs_a_reset_before_the_first_step_and_after_the_last():
    env = gym.make(BALANCE, engine="analytic").unwrapped
    with pytest.raises(ResetNeeded):
        env.step(1)
    env.reset(seed=SEED)
    terminated = False
    while not terminated:
        _, _, terminated, *_ = env.step(1)
    with pytest.raises(ResetNeeded):
        env.step(1)
    env.close()


def test_continuous_actions_are_clipped_to_the_motors_range():
    def after(action):
        env = make_vec(SWING_UP, 1, engine="analytic")
        env.reset(seed=SEED)
        result = env.step(np.array([[action]], dtype=np.float32))
        env.close()
        return result[0]

    np.testing.assert_array_equal(after(7.0), after(1.0))
    assert (after(0.5) != after(1.0)).any()


@pytest.mark.parametrize(
    ("env_id", "forces"), [(BALANCE, [-1.0, 1.0]), (SWING_UP, [-1.0, -0.5, 0.0, 0.5, 1.0])]
)
def test_discrete_actions_are_levels_of_the_continuous_one(env_id, forces):
    discrete = make_vec(env_id, len(forces), engine="analytic", action="discrete")
    continuous = make_vec(env_id, len(forces), engine="analytic", action="continuous")
    discrete.reset(seed=SEED)
    continuous.reset(seed=SEED)
    got = discrete.step(np.arange(len(forces)))
    expected = continuous.step(np.array(forces)[:, None])
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])
    assert discrete.single_action_space == gym.spaces.Discrete(len(forces))
    discrete.close()
    continuous.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_an_env_that_a_first_masked_reset_left_out_may_not_be_stepped(mode):
    env = make_vec(BALANCE, 2, engine="analytic", autoreset_mode=mode)
    env.reset(seed=SEED, options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match="Env 1 "):
        env.step(np.ones(2, dtype=np.int64))
    env.reset(options={"reset_mask": np.array([False, True])})
    env.step(np.ones(2, dtype=np.int64))
    env.close()
