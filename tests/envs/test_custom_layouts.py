"""Layouts and starts of one's own: refused before anything changes, or had on every engine."""

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from scenes import closed_form_lidar, put_robot

from robolearn_envs import make_vec
from robolearn_envs.maps.custom import layout_from_json

pytestmark = pytest.mark.usefixtures("small_datasets")

LIDAR, DEPTH, ROVER = (f"robolearn/Nav{kind}-v0" for kind in ("Lidar", "Depth", "Rover"))
every_engine = pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])
GOAL = {"goal": [0.05, 0.05]}
# Walls of a box about the goal, without a door.
PEN = [[0.0, 1.5, 1.6, 0.1], [0.0, -1.5, 1.6, 0.1], [1.5, 0.0, 0.1, 1.6], [-1.5, 0.0, 0.1, 1.6]]
CLUTTER = {
    "goal": [3.05, 0.05],
    "start": [-3.0, 0.0, 0.0],
    "cylinders": [[-4.0 + 0.8 * k, 4.2, 0.2] for k in range(10)],
    "dynamic_obstacles": [
        [-2.0, 2.0, 0.3, 0.5, 0.0, 0.7, 0.1],
        [2.0, 2.0, 0.25, 0.0, 0.4, 0.5, 1.0],
    ],
    "boxes": [[-4.5 + k, -4.0, 0.3, 0.2] for k in range(10)],
}
"""Twelve cylinders and ten boxes: more than any level has."""


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"level": 9}, r"level must be one of 0\.\.4, got 9"),
        ({"level": "2"}, r"level must be one of 0\.\.4, got '2'"),
        ({"split": "foo"}, "split must be one of train, val, test, got 'foo'"),
        ({"split": ["test"]}, r"split must be one of train, val, test, got \['test'\]"),
        ({"curriculum": "yes"}, "curriculum must be True or False, got 'yes'"),
        ({"domain_randomization": "a"}, "domain_randomization must be a finite number, got 'a'"),
        ({"robot": 5}, "robot must be a mapping of fields to numbers, got 5"),
        ({"robot": {"mas": 3.0}}, r"Unknown field of UnicycleRobot 'mas'\. Did you mean 'mass'\?"),
        ({"robot": {"mass": -3.0}}, "'mass' must be a positive number, got -3.0"),
        ({"robot": {"radius": 0.4}}, r"robots of a radius up to 0\.22 m, got 0\.4"),
    ],
)
def test_what_cannot_be_is_refused_when_the_env_is_made(kwargs, message):
    with pytest.raises(ValueError, match=message) as refusal:
        gym.make(LIDAR, engine="analytic", **kwargs)
    assert "\n" not in str(refusal.value)


def test_an_option_there_is_not_is_a_type_error():
    told = r"unexpected keyword argument 'levl'.*Did you mean 'level'\?"
    with pytest.raises(TypeError, match=told) as refusal:
        gym.make(LIDAR, engine="analytic", levl=2)
    assert "\n" not in str(refusal.value)


@every_engine
def test_no_robot_is_so_fast_that_it_passes_through_things(engine):
    # 20 m/s is 2 m a step: from x = 0 it is beyond a wall at 1 m, 0.04 m thick, after one of them.
    robot = {"max_linear_velocity": 20.0, "max_linear_acceleration": 1000.0}
    env = gym.make(LIDAR, engine=engine, level=0, robot=robot).unwrapped
    layout = {"goal": [3.05, 3.05], "start": [0.05, 0.05, 0.0], "boxes": [[1.0, 0.0, 0.02, 1.0]]}
    env.reset(seed=0, options={"layout": layout})
    *_, terminated, _, info = env.step(np.array([1, 0], dtype=np.float32))
    # 20 m/s are reached within the first physics step: 0.1 s at 20 m/s.
    assert env.vector_env.qpos_qvel()[0][0, 0] == pytest.approx(2.05)
    assert (terminated, info["collision"]) == (True, True)
    assert info["min_obstacle_distance"] <= 0
    env.close()


def test_the_fastest_obstacle_cannot_pass_through_a_robot_that_stands():
    # It swings 1 m to either side of a point 0.05 m beside the robot's middle, at up to 5 m/s:
    # sin(5 t) is 0.48 after the first step of 0.1 s and 0.84 after the second.
    post = [0.05, 0.05, 0.02, 1.0, 0.0, 5.0, -0.25]
    layout = {"goal": [3.05, 3.05], "start": [0.35, 0.35, 0.0], "dynamic_obstacles": [post]}
    env = gym.make(LIDAR, engine="analytic", level=0).unwrapped
    env.reset(seed=0, options={"layout": layout})
    put_robot(env.vector_env, 0, [0.05, 0.05, 0.0])
    *_, terminated, _, info = env.step(np.zeros(2, dtype=np.float32))
    assert (terminated, info["collision"]) == (True, True)
    # From sin(-0.25) = -0.247 m left of its middle to sin(0.25) = 0.247 m right of it, which is
    # more than 0.2 + 0.02 m at either end.
    assert info["min_obstacle_distance"] == pytest.approx(-0.22)
    env.close()


def test_a_level_and_a_strength_of_numpys_are_numbers_too():
    env = make_vec(
        LIDAR, 1, engine="analytic", level=np.int64(2), domain_randomization=np.float32(0.2)
    )
    env.reset(seed=0)
    assert env.task_state["level"][0] == 2
    env.close()


def test_a_rover_is_refused_in_closed_form():
    with pytest.raises(ValueError, match=r"NavRover-v0 does not run on engine 'analytic'"):
        gym.make(ROVER, engine="analytic")


LAYOUTS = {
    "not JSON": ("{goal: 1}", "The layout is not JSON"),
    "JSON without an end": ("[" * 100_000, "The layout is not JSON"),
    "not a mapping": ([1, 2], "A layout is a mapping with a 'goal', got list"),
    "JSON of a list": ("[1, 2]", "A layout is a mapping with a 'goal', got list"),
    "no goal": ({"start": [0, 0, 0]}, "has no 'goal'"),
    "unknown key": (GOAL | {"boxs": []}, r"Unknown key of a layout 'boxs'\. Did you mean 'boxes'"),
    "goal of three": ({"goal": [0, 0, 0]}, r"'goal' must be 2 finite numbers, got \[0, 0, 0\]"),
    "goal of text": ({"goal": "12"}, "'goal' must be 2 finite numbers, got '12'"),
    "goal of texts": ({"goal": ["1", "2"]}, "'goal' must be 2 finite numbers"),
    "goal of NaN": ({"goal": [math.nan, 0]}, r"'goal' must be 2 finite numbers, got \[nan, 0\]"),
    "goal of NaN in JSON": ('{"goal": [NaN, 0]}', "'goal' must be 2 finite numbers"),
    "goal of infinity": ({"goal": [0, -math.inf]}, "'goal' must be 2 finite numbers"),
    "goal of 400 digits": ({"goal": [10**400, 0]}, "'goal' must be 2 finite numbers"),
    "goal of truth": ({"goal": [True, 0]}, "'goal' must be 2 finite numbers"),
    "goal a number": ({"goal": 3}, "'goal' must be 2 finite numbers, got 3"),
    "goal an array of no axes": ({"goal": np.array(3.0)}, "'goal' must be 2 finite numbers"),
    "goal nothing": ({"goal": None}, "'goal' must be 2 finite numbers, got None"),
    "cylinders a row": (GOAL | {"cylinders": [1, 2, 3]}, r"'cylinders\[0\]' must be 3 finite"),
    "cylinders too short": (GOAL | {"cylinders": [[1, 2]]}, r"'cylinders\[0\]' must be 3 finite"),
    "cylinders a mapping": (GOAL | {"cylinders": {"x": 1}}, "'cylinders' must be a list of rows"),
    "cylinders a number": (GOAL | {"cylinders": 5}, "'cylinders' must be a list of rows of 3"),
    "cylinders nothing": (GOAL | {"cylinders": None}, "'cylinders' must be a list of rows of 3"),
    "cylinders an array of no axes": (
        GOAL | {"cylinders": np.array(1.0)},
        "'cylinders' must be a list of rows of 3",
    ),
    "the second box": (GOAL | {"boxes": [PEN[0], [1, 2, 3]]}, r"'boxes\[1\]' must be 4 finite"),
    "movers too short": (
        GOAL | {"dynamic_obstacles": [[1, 2, 0.3]]},
        r"'dynamic_obstacles\[0\]' must be 7 finite",
    ),
    "negative radius": (GOAL | {"cylinders": [[2, 2, -0.3]]}, r"must be positive, got -0\.3"),
    "flat box": (GOAL | {"boxes": [[2, 2, 0.3, 0.0]]}, r"must be positive, got 0\.0"),
    "outside": (
        GOAL | {"cylinders": [[2, 5.5, 0.3]]},
        r"within \+-5\.0 m, got a coordinate of 5\.5",
    ),
    "mover outside at one end": (  # 4 + 1.5 m
        GOAL | {"dynamic_obstacles": [[4, 2, 0.3, 1.5, 0, 1, 0]]},
        r"within \+-5\.0 m, got a coordinate of 5\.5",
    ),
    "mover outside at the other end": (  # -3 - 2.5 m
        GOAL | {"dynamic_obstacles": [[2, -3, 0.3, 0, 2.5, 1, 0]]},
        r"within \+-5\.0 m, got a coordinate of -5\.5",
    ),
    "mover with an endless swing": (
        GOAL | {"dynamic_obstacles": [[2, 2, 0.3, 1e300, 0, 1, 0]]},
        r"move at 5\.0 m/s at most, got 1e\+300",
    ),
    "mover too fast": (
        GOAL | {"dynamic_obstacles": [[2, 2, 0.3, 0.5, 0, 1e9, 0]]},
        r"angular_frequency must lie within \+-10\.0 rad/s, got 1e\+09",
    ),
    "mover too fast backwards": (
        GOAL | {"dynamic_obstacles": [[2, 2, 0.3, 0.5, 0, 1, 0], [2, 2, 0.3, 0.5, 0, -1e9, 0]]},
        r"angular_frequency must lie within \+-10\.0 rad/s, got -1e\+09",
    ),
    "mover faster than 5 m/s": (  # hypot(1.2, 0.9) * 3.4 = 5.1
        GOAL | {"dynamic_obstacles": [[2, 2, 0.3, 1.2, 0.9, 3.4, 0]]},
        r"move at 5\.0 m/s at most, got 5\.1",
    ),
    "endless box": (
        GOAL | {"boxes": [[2, 2, 1e308, 0.3]]},
        r"half extents are 10\.0 m at most, got 1e\+308",
    ),
    "too many": (
        GOAL
        | {"cylinders": [[2, 2, 0.1]] * 10, "dynamic_obstacles": [[2, 2, 0.1, 0, 0.1, 1, 0]] * 7},
        "at most 16 cylinders and dynamic_obstacles, got 17",
    ),
    "too many boxes": (GOAL | {"boxes": [[2, 2, 0.1, 0.1]] * 17}, "at most 16 boxes, got 17"),
    "goal in a wall": ({"goal": [4.9, 0]}, r"0\.3 m or more from walls.*got \[4\.9, 0\.0\]"),
    "goal outside": ({"goal": [7.0, 0]}, r"0\.3 m or more from walls.*got \[7\.0, 0\.0\]"),
    "goal in a post": (GOAL | {"cylinders": [[0.1, 0.1, 0.5]]}, r"0\.3 m or more from walls and"),
    "goal in a mover that stays": (
        GOAL | {"dynamic_obstacles": [[0.05, 0.05, 0.3, 0, 0, 1, 0]]},
        r"0\.3 m or more from walls and",
    ),
    "goal in a box": (GOAL | {"boxes": [[0.1, 0.1, 0.5, 0.5]]}, r"0\.3 m or more from walls and"),
    "goal walled in": (GOAL | {"boxes": PEN}, r"cannot be solved: from goal \[0\.05, 0\.05\]"),
    "start of two": (GOAL | {"start": [0, 3]}, r"'start' must be 3 finite numbers, got \[0, 3\]"),
    "start in a wall": (GOAL | {"start": [4.9, 0, 0]}, r"is 0\.1 m from the nearest surface"),
    "start outside": (GOAL | {"start": [6, 0, 0]}, r"is -1 m from the nearest surface"),
    "start in a post": (
        GOAL | {"start": [3, 0, 0], "cylinders": [[3, 0.1, 0.5]]},
        r"is -0\.4 m from the nearest surface",
    ),
    "start in a mover where it begins": (
        # At phase pi / 2 it is 1 m to the right of its middle.
        GOAL | {"start": [3, 0, 0], "dynamic_obstacles": [[2, 0, 0.5, 1, 0, 1, math.pi / 2]]},
        r"is -0\.5 m from the nearest surface",
    ),
    "start cut off": (
        {"goal": [3.05, 0.05], "start": [0, 0, 0], "boxes": PEN},
        r"start \[0\.0, 0\.0, 0\.0\] is cut off from the goal",
    ),
    "start at the goal": (GOAL | {"start": [0.05, 0.05, 0]}, r"less than 0\.3 m from the goal"),
}


@pytest.mark.parametrize(("layout", "message"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_that_cannot_be_is_refused_in_one_line(layout, message):
    env = gym.make(LIDAR, engine="analytic", level=0).unwrapped
    with pytest.raises(ValueError, match=message) as refusal:
        env.reset(seed=0, options={"layout": layout})
    assert "\n" not in str(refusal.value)
    env.close()


WISHES = {
    "start in a wall": ({"start": [4.9, 0, 0]}, r"is 0\.1 m from the nearest surface"),
    "start of text": ({"start": "home"}, "'start' must be 3 finite numbers, got 'home'"),
    "start in an obstacle": ({"start": [0, 0, 0], "layout_id": 3}, "from the nearest surface"),
    "index beyond the dataset": ({"layout_id": 16}, r"one of 0\.\.15 in split 'train', got 16"),
    "negative index": ({"layout_id": -1}, "got -1"),
    "index of text": ({"layout_id": "3"}, "got '3'"),
    "index of truth": ({"layout_id": True}, "got True"),
    "unknown option": (
        {"layouts": {}},
        r"Unknown option of reset 'layouts'\. Did you mean 'layout'",
    ),
    "layout and index": ({"layout": CLUTTER, "layout_id": 3}, "Give 'layout' or 'layout_id'"),
    "bad layout": ({"layout": {"goal": [9, 9]}}, "The goal must be"),
    "bad start in a good layout": (
        {"layout": CLUTTER | {"start": [3.0, 3.0, "north"]}},
        "'start' must be 3 finite numbers",
    ),
    "bad start of a good layout": ({"layout": CLUTTER, "start": [2.0, 2.4, 0]}, "nearest surface"),
}


def in_the_way(env):
    """Return a place in an obstacle of layout 3."""
    env.reset(seed=0, options={"layout_id": 3})
    return [*env.task_state["cylinders"][0, 0, :2].tolist(), 0.0]


@pytest.mark.slow
@pytest.mark.parametrize(("wishes", "message"), WISHES.values(), ids=WISHES)
@pytest.mark.parametrize("seed", [None, 99])
def test_a_refused_reset_changes_nothing(wishes, message, seed):
    kwargs = {"engine": "analytic", "level": 1, "domain_randomization": 0.2}
    env, twin = (make_vec(LIDAR, 3, autoreset_mode="SameStep", **kwargs) for _ in range(2))
    if wishes.get("layout_id") == 3:
        wishes = wishes | {"start": in_the_way(twin)}
    action = np.full((3, 2), 0.5, dtype=np.float32)
    for one in (env, twin):
        one.reset(seed=7)
        one.step(action)
    before = {name: rows.copy() for name, rows in env.task_state.items()}
    mask = np.array([True, False, True])
    for options in (wishes, wishes | {"reset_mask": mask}):
        with pytest.raises(ValueError, match=message) as refusal:
            env.reset(seed=seed, options=options)
        assert "\n" not in str(refusal.value)
    assert before.keys() == env.task_state.keys()
    for name, rows in before.items():
        np.testing.assert_array_equal(env.task_state[name], rows, err_msg=name)
    for _ in range(40):  # the old episodes go on, and so do the streams of random numbers
        for got, expected in zip(env.step(action)[:4], twin.step(action)[:4], strict=True):
            np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])
    env.close()
    twin.close()


def test_a_refused_first_reset_leaves_the_env_unseeded_and_usable():
    env = make_vec(LIDAR, 2, engine="analytic", level=0)
    with pytest.raises(ValueError, match="got 99"):
        env.reset(options={"layout_id": 99})
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros((2, 2), dtype=np.float32))
    first, _ = env.reset(seed=3)
    other = make_vec(LIDAR, 2, engine="analytic", level=0)
    np.testing.assert_array_equal(first, other.reset(seed=3)[0])
    env.close()
    other.close()


def test_a_start_that_is_free_in_some_layouts_only_is_refused():
    env = make_vec(LIDAR, 16, engine="analytic", level=1)
    env.reset(seed=0)
    # In the middle of another env's first post; env 0 has room there.
    posts = env.task_state["cylinders"][:, 0, :2]
    own = env.task_state["cylinders"][0]
    apart = np.linalg.norm(posts[:, None] - own[None, :, :2], axis=-1) - own[:, 2]
    place = posts[(apart.min(axis=1) > 0.5).argmax()]
    with pytest.raises(ValueError, match="nearest surface"):
        env.reset(seed=0, options={"start": [*place.tolist(), 0.0]})
    env.close()


def test_a_goal_may_be_as_near_to_a_post_as_the_rules_say():
    # From (0.01, 0.01) it is 0.6 - 0.3 m; the middle of the goal's cell is nearer, 0.26 m.
    layout, _ = layout_from_json({"goal": [0.01, 0.01], "cylinders": [[0.61, 0.01, 0.3]]})
    assert layout.goal.tolist() == [0.01, 0.01]


@pytest.mark.parametrize(
    "mover",
    [[0.0, 0.0, 0.3, 4.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.02, 4.0, 3.0, 1.0, 0.0]],
    ids=["long", "long, thin and aslant"],
)
def test_no_episode_begins_where_a_mover_will_pass(mover):
    layout, _ = layout_from_json({"goal": [3.05, -3.05], "dynamic_obstacles": [mover]})
    swing, radius = np.array(mover[3:5]), mover[2]
    nearest = np.clip(layout.starts @ swing / (swing @ swing), -1, 1)[:, None] * swing
    gap = np.linalg.norm(layout.starts - nearest, axis=1) - radius
    # An episode begins up to 0.05 m in x and in y from there, which brings a robot of 0.2 m nearer
    # by 0.05 (|x| + |y|) of the unit normal.
    assert gap.min() > 0.2 + 0.05 * np.abs(swing).sum() / np.linalg.norm(swing)


@every_engine
def test_a_start_may_have_turned_any_number_of_times(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = gym.make(LIDAR, engine=engine, level=0).unwrapped
    env.reset(seed=0, options={"layout": GOAL, "start": [3.05, 0.05, 1e11]})
    heading = env.vector_env.qpos_qvel()[0][0, 2]
    observation, *_ = env.step(np.zeros(2, dtype=np.float32))
    env.close()
    assert heading == pytest.approx(math.remainder(1e11, 2 * math.pi), abs=1e-9)
    assert env.vector_env.qpos_qvel()[0][0, 2] == pytest.approx(heading, abs=1e-9)
    # The goal is at bearing pi, seen from the heading.
    assert observation[37:39] == pytest.approx([-math.cos(heading), math.sin(heading)], abs=1e-6)
    assert list(tmp_path.iterdir()) == []  # MuJoCo writes MUJOCO_LOG.TXT where it is in doubt


@pytest.mark.parametrize(("level", "cylinders", "boxes"), [(0, 0, 0), (1, 4, 0), (4, 2, 9)])
def test_a_smaller_layout_takes_no_more_room_than_the_levels_own(level, cylinders, boxes):
    env = make_vec(LIDAR, 2, engine="analytic", level=level)
    small = GOAL | {"cylinders": [[2.05, 2.05, 0.3]] if level else []}
    for options in (None, {"layout": small}, None):
        env.reset(seed=0, options=options)
        assert env.task_state["cylinders"].shape == (2, cylinders, 7)
        assert env.task_state["boxes"].shape == (2, boxes, 4)
    env.close()


@pytest.mark.parametrize("level", [0, 3])
def test_a_layout_of_ones_own_is_told_of_under_the_envs_level(level):
    env = gym.make(LIDAR, engine="analytic", level=level).unwrapped
    env.reset(seed=0, options={"layout": GOAL | {"start": [4.5, 0.05, 0.0]}})
    terminated = False
    while not terminated:  # 0.3 m to the wall
        *_, terminated, _, info = env.step(np.array([1, 0], dtype=np.float32))
    env.close()
    assert info["level"] == level


def test_json_text_arrays_and_lists_are_the_same_layout():
    expected, start = layout_from_json(CLUTTER)
    arrays = {key: np.array(rows) for key, rows in CLUTTER.items()}
    for given in (json.dumps(CLUTTER), arrays, CLUTTER):
        got, same_start = layout_from_json(given)
        np.testing.assert_array_equal(same_start, start)
        for part, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(part, other)
    assert expected.cylinders.shape == (12, 7)
    assert expected.boxes.shape == (10, 4)


def clutter_now(time):
    """Return cylinders and boxes of CLUTTER at a time, as a batch of one."""
    moved = [
        [x + dx * math.sin(w * time + phase), y + dy * math.sin(w * time + phase), radius]
        for x, y, radius, dx, dy, w, phase in CLUTTER["dynamic_obstacles"]
    ]
    return np.array([moved + CLUTTER["cylinders"]]), np.array([CLUTTER["boxes"]])


@pytest.mark.slow
@every_engine
@pytest.mark.parametrize("level", [0, 1, 4])
def test_more_obstacles_than_the_level_has_are_there_for_those_who_are_reset(engine, level):
    kwargs = {"engine": engine, "level": level, "autoreset_mode": AutoresetMode.DISABLED}
    env, twin = make_vec(LIDAR, 3, **kwargs), make_vec(LIDAR, 3, **kwargs)
    mask, action = np.array([False, True, False]), np.tile(np.float32([0.1, 0.5]), (3, 1))
    for one in (env, twin):
        one.reset(seed=3)
        before, *_ = one.step(action)
    after, _ = env.reset(options={"reset_mask": mask, "layout": CLUTTER})
    np.testing.assert_array_equal(after[~mask], before[~mask])
    for step in range(1, 16):
        result, expected = env.step(action), twin.step(action)
        for got, same in zip(result[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(got[~mask], same[~mask])
        qpos = env.qpos_qvel()[0][mask]
        seen = closed_form_lidar(qpos[:, :2], qpos[:, 2], *clutter_now(0.1 * step))
        assert result[0][1, :36] == pytest.approx(seen[0] / 5, abs=1e-5)
    env.close()
    twin.close()


@every_engine
def test_a_crowded_layout_may_come_before_other_envs_have_begun(engine):
    env, twin = (
        make_vec(LIDAR, 2, engine=engine, level=1),
        make_vec(LIDAR, 2, engine=engine, level=1),
    )
    first, second = np.array([True, False]), np.array([False, True])
    env.reset(seed=0, options={"reset_mask": first})
    env.reset(options={"reset_mask": first, "layout": CLUTTER})
    env.reset(options={"reset_mask": second})
    twin.reset(seed=0)
    twin.reset()
    action = np.zeros((2, 2), dtype=np.float32)
    got, expected = env.step(action)[0], twin.step(action)[0]
    np.testing.assert_array_equal(got[1], expected[1])
    # From (-3, 0) the goal at (3.05, 0.05) is 6.0502 m away, a little to the left.
    assert got[0, 36:] == pytest.approx([0.60502, 1.0, 0.00826, 0.0, 0.0], abs=1e-4)
    env.close()
    twin.close()


@pytest.mark.parametrize("level", [2, 4])
def test_bullet_makes_no_more_bodies_once_every_layout_has_been_seen(level):
    import pybullet

    env = make_vec(LIDAR, 1, engine="bullet", level=level)

    def bodies(resets):
        for _ in range(resets):
            env.reset()
        return pybullet.getNumBodies(physicsClientId=env._engine._clients.ids[0])

    env.reset(seed=0)
    early, settled = bodies(1), bodies(200)
    assert settled > early
    assert bodies(200) == settled
    # At the most, of each shape as many as a layout has: eight of each of four radii, or nine
    # walls each way, two posts of each radius and boxes that are padding; the robot, walls and
    # floor on top.
    assert settled <= 1 + 4 + 1 + (4 * 8 if level == 2 else 9 + 9 + 4 * 2 + 9)
    env.close()
