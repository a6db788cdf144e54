import os
import subprocess
import sys
import textwrap

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from tasks_by_name import TASKS, host_engines
from test_rendering import HIDE_OPENGL

from robolearn_envs import make_vec, scene_style
from robolearn_envs.rendering import egl_error, make_renderer
from robolearn_envs.rendering.chase import ArenaScene, camera_pose, scene_positions
from robolearn_envs.rendering.scene_state import NavSceneState
from robolearn_envs.rendering.top import nearest_surface
from robolearn_envs.robots import DiffDriveRobot, UnicycleRobot

NAVIGATION = [name for name in TASKS if name.startswith("Nav")]
every_nav = pytest.mark.parametrize("name", NAVIGATION)
every_nav_and_engine = pytest.mark.parametrize(
    ("name", "engine"), [(name, engine) for name in NAVIGATION for engine in host_engines(name)]
)

# The map of 480 x 480 pixels shows 10.4 x 10.4 m, so a meter is 46.15 pixels; its middle is the
# arena's, +x is right and +y is up: (x, y) is at column (x + 5.2) * 46.15, row (5.2 - y) * 46.15.
FLOOR = (246, 248, 251)
SENSED = (20, 150, 190)


def color(words: str) -> np.ndarray:
    return np.array([round(255 * float(word)) for word in words.split()[:3]])


def make(name="NavLidar-v0", view="top", **options) -> gym.Env:
    options = {"engine": "mujoco", "level": 0, "render_mode": "rgb_array", **options}
    return gym.make(f"robolearn/{name}", view=view, **options)


def top_view(name="NavLidar-v0", start=(-4.0, -4.0, 0.0), steps=0, action=(0.0, 0.0), **layout):
    """Return the map after some steps in a layout of one's own."""
    env = make(name)
    env.reset(seed=0, options={"layout": {"goal": [4.0, 4.0], **layout}, "start": list(start)})
    for _ in range(steps):
        env.step(np.array(action, dtype=np.float32))
    frame = env.render()
    env.close()
    return frame.astype(int)


def near(picture, x, y, expected, size=0, tolerance=3) -> bool:
    """Return whether some pixel within ``size`` pixels of a place has a color."""
    column, row = int((x + 5.2) * 480 / 10.4), int((5.2 - y) * 480 / 10.4)
    patch = picture[row - size : row + size + 1, column - size : column + size + 1]
    return bool((np.abs(patch - expected).max(axis=-1) <= tolerance).any())


def test_the_map_shows_the_goal_at_its_place():
    # (2, 1) is at column 7.2 * 46.15 = 332 and row 4.2 * 46.15 = 193.
    picture = top_view(goal=[2.0, 1.0])
    np.testing.assert_allclose(picture[193, 332], color(scene_style.GOAL), atol=2)
    assert not near(top_view(goal=[2.0, -1.0]), 2.0, 1.0, color(scene_style.GOAL), size=3)


def test_the_map_shows_obstacles_at_their_places_and_floor_between():
    picture = top_view(cylinders=[[-3.0, 2.0, 0.5]], boxes=[[1.0, -2.0, 0.1, 1.0]])
    # (-3, 2): column 101, row 147. (1, -2): column 286, row 332; the box is 9 x 92 pixels.
    gray = color(scene_style.OBSTACLE)
    np.testing.assert_allclose(picture[147, 101], gray, atol=2)
    np.testing.assert_allclose(picture[[332 - 42, 332, 332 + 42], 286], [gray] * 3, atol=2)
    assert np.abs(picture[[332 - 50, 332 + 50], 286] - gray).max(axis=-1).min() > 60
    np.testing.assert_allclose(picture[180, 110], FLOOR, atol=2)  # (-2.8, 1.3)


def test_what_is_padding_is_not_drawn():
    env = make()
    layout = {"goal": [2.0, 1.0], "cylinders": [[-3.0, 2.0, 0.5]]}
    crowded = {
        "goal": [2.0, 1.0],
        "cylinders": [[-3.0, y, 0.2] for y in (-2.0, 0.0, 2.0)],
        "boxes": [[0.0, 0.0, 0.1, 0.5], [0.0, 3.0, 0.1, 0.5]],
    }
    # After a layout of three cylinders and two boxes a smaller one is filled up to as many.
    for given in (crowded, layout):
        env.reset(seed=0, options={"layout": given})
    state = env.unwrapped.vector_env.task_state
    moment = NavSceneState.of(state, 0, np.zeros((1, 3)))
    assert (state["cylinders"].shape[1], state["boxes"].shape[1]) == (3, 2)
    assert (moment.cylinders[:, :3].tolist(), moment.boxes.tolist()) == ([[-3.0, 2.0, 0.5]], [])
    env.close()


def test_movers_are_drawn_where_they_are_now():
    # x = -1 + sin(t / 2 + pi / 2): at 0 when it begins, at -0.98 after 31 steps or 3.1 s.
    mover = [-1.0, -3.0, 0.3, 1.0, 0.0, 0.5, np.pi / 2]
    orange = color(scene_style.MOVER)
    before, after = (
        top_view(dynamic_obstacles=[mover]),
        top_view(dynamic_obstacles=[mover], steps=31),
    )
    # (0, -3) is at column 240, (-1, -3) at column 193, both at row 378.
    np.testing.assert_allclose(before[378, 240], orange, atol=2)
    np.testing.assert_allclose(after[378, 193], orange, atol=2)
    assert np.abs(after[370, 240] - orange).max() > 30
    assert np.abs(before[370, 193] - orange).max() > 30


# A post 2.5 m ahead and, so that the line of the clearance is elsewhere, a box 1.5 m to the right.
AHEAD = {"cylinders": [[3.0, 0.0, 0.5]], "boxes": [[0.0, -2.0, 0.3, 0.5]], "start": (0, 0, 0)}


def test_lidar_rays_end_with_a_dot_on_the_surface():
    picture = top_view(**AHEAD)
    # Ray 0 meets the post at (2.5, 0), ray 18 the west wall at (-5, 0), 5 m away or no reading.
    assert near(picture, 2.5, 0.0, SENSED, size=1, tolerance=12)
    assert near(picture, 2.0, 0.0, FLOOR, size=3, tolerance=60)  # there is a ray, but no dot
    assert not near(picture, 2.0, 0.0, SENSED, size=3, tolerance=12)
    # Ray 1 points 10 degrees up: it passes the post and meets the east wall at 5 / cos(10 deg),
    # 5.08 m away, which is too far for a reading.
    assert not near(picture, 4.95, 0.87, SENSED, size=3, tolerance=12)
    assert not near(picture, 4.92, 0.87, FLOOR, size=0, tolerance=12)


def test_what_the_lidar_can_see_is_shaded_and_what_is_hidden_is_not():
    picture = top_view(**AHEAD)
    shaded = picture[240 - 12, 240 + 50]  # (1.1, 0.26), where no ray and no grid line passes
    assert FLOOR[0] - shaded[0] > 15
    assert near(picture, 4.6, 0.3, FLOOR, size=0)  # behind the post


def test_a_turned_robot_sees_elsewhere():
    # Turned left by 90 degrees the camera sees what is up on the map.
    ahead, left = (top_view("NavDepth-v0", start=(0, 0, a)) for a in (0.0, np.pi / 2))
    assert not near(ahead, 2.3, 0.4, FLOOR)
    assert near(ahead, 0.4, 2.3, FLOOR)
    assert near(left, 2.3, 0.4, FLOOR)
    assert not near(left, 0.4, 2.3, FLOOR)


def test_a_depth_camera_shows_its_quarter_of_the_map():
    picture = top_view("NavDepth-v0", **AHEAD)
    # 45 degrees to either side: (1.5, 1.3) is at 41 degrees, (1.3, 1.5) at 49, (-1.3, 0.4) behind.
    assert not near(picture, 1.5, 1.3, FLOOR)
    assert near(picture, 1.3, 1.45, FLOOR)
    assert near(picture, -1.3, 0.4, FLOOR)
    assert near(picture, 4.6, 0.3, FLOOR)  # hidden by the post
    assert near(picture, 2.5, 0.0, SENSED, size=2, tolerance=12)


def blue(picture, x, y) -> bool:
    """Return whether the robot's path, 2 pixels wide, passes a place."""
    column, row = int((x + 5.2) * 480 / 10.4), int((5.2 - y) * 480 / 10.4)
    patch = picture[row - 1 : row + 2, column - 1 : column + 2].astype(int)
    return bool((patch[..., 2] - patch[..., 0] > 90).any())


def test_the_path_is_drawn_and_ends_with_its_episode():
    env = make(max_episode_steps=100)
    options = {"layout": {"goal": [0.0, 4.0]}, "start": [-2.0, -2.0, 0.0]}
    env.reset(seed=0, options=options)
    assert not blue(env.render(), -1.3, -2.0)
    for _ in range(25):  # 2.5 s at 1 m/s, less 0.1 m lost in getting up to speed
        env.step(np.array([1.0, 0.0], dtype=np.float32))
    picture = env.render()
    assert all(blue(picture, x, -2.0) for x in (-1.7, -1.3, -0.8, 0.1))
    assert not blue(picture, 1.0, -2.0)
    env.reset(seed=0, options=options | {"start": [2.0, 2.0, 0.0]})
    picture = env.render()
    # Neither the old path nor a line from its end, (0.4, -2), to the new start: half-way (1.2, 0).
    assert not any(blue(picture, *place) for place in ((-1.3, -2.0), (0.1, -2.0), (1.2, 0.0)))
    env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_after_any_kind_of_reset_a_map_is_that_of_a_fresh_environment(mode):
    options = {"engine": "analytic", "level": 2, "view": "top", "render_mode": "rgb_array"}
    envs = make_vec("robolearn/NavLidar-v0", 2, autoreset_mode=mode, **options)
    envs.reset(seed=3)
    forward = np.tile(np.array([1.0, 0.0], dtype=np.float32), (2, 1))
    ended = np.zeros(2, dtype=bool)
    while not ended.any():  # nobody drives straight on for 30 s without a collision
        _, _, terminated, truncated, _ = envs.step(forward)
        ended = terminated | truncated
    if mode is AutoresetMode.NEXT_STEP:
        envs.step(forward)
    elif mode is AutoresetMode.DISABLED:
        envs.reset(options={"reset_mask": ended})
    index = int(np.flatnonzero(ended)[0])
    fresh = make_vec("robolearn/NavLidar-v0", 2, **options)
    fresh.reset(seed=3)
    fresh.reset()
    np.testing.assert_array_equal(envs.render()[index], fresh.render()[index])
    envs.close()
    fresh.close()


def test_clearance_is_green_in_the_open_and_red_near_a_surface():
    # The line goes down from the rim to the nearest point of the box, 1.3 m or 0.1 m long.
    wide = top_view(**AHEAD)
    tight = top_view(**{**AHEAD, "boxes": [[0.0, -0.8, 0.3, 0.5]]})
    red, green, _ = wide[280, 240]  # (0, -0.87)
    assert green - red > 80
    red, green, _ = tight[251, 240]  # (0, -0.25)
    assert red - green > 80


@pytest.mark.parametrize(
    ("xy", "expected"),
    [
        ((4.0, 0.5), (5.0, 0.5)),  # east wall, 1 m
        ((0.0, -4.5), (0.0, -5.0)),  # south wall, 0.5 m
        ((-2.0, 0.0), (-2.5, 0.0)),  # post at (-3, 0), radius 0.5
        ((2.4, 2.3), (2.0, 2.0)),  # corner of the box, at 0.5 m
        ((1.5, 2.2), (1.5, 2.0)),  # its upper face
    ],
)
def test_the_nearest_surface(xy, expected):
    cylinders, boxes = np.array([[-3.0, 0.0, 0.5]]), np.array([[1.0, 1.5, 1.0, 0.5]])
    np.testing.assert_allclose(nearest_surface(np.array(xy), cylinders, boxes), expected)


def scene_with(*trail, cylinders=(), boxes=(), goal=(4.0, 4.0)) -> NavSceneState:
    """Return a moment in which cylinders given with all seven numbers have moved on by d."""
    rows = np.array([[*row, 0, 0, 0, 0][:7] for row in cylinders]).reshape(-1, 7)
    now = rows[:, :3].copy()
    now[:, :2] += rows[:, 3:5]
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return NavSceneState(np.array(trail, dtype=float), np.array(goal), rows, now, boxes)


def test_the_camera_follows_behind_and_above():
    # In the open 32 degrees above the robot and 2.6 m away: 2.6 cos = 2.205 m behind, 2.6 sin =
    # 1.378 m above its middle at 0.15 m. It looks 12 degrees less steeply down than at the robot.
    x, y, z, heading, pitch = camera_pose(scene_with((1.0, 2.0, np.pi / 2)))
    assert (x, y, z) == pytest.approx((1.0, 2.0 - 2.205, 1.528), abs=1e-3)
    assert (heading, pitch) == pytest.approx((np.pi / 2, np.radians(20)))


def test_the_camera_rises_to_see_over_what_stands_behind():
    # A wall of 1 m, 1 m behind the robot, wants 45 degrees: 13/42 of the way from 32 to 74, so
    # 2.6 + 0.8 * 13 / 42 = 2.848 m away; 2.848 / sqrt(2) = 2.014 behind and above.
    behind = scene_with((0.0, 0.0, 0.0), boxes=[(-1.1, 0.0, 0.1, 2.0)])
    x, _, z, _, pitch = camera_pose(behind)
    assert (x, z) == pytest.approx((-2.014, 2.164), abs=1e-3)
    assert np.degrees(pitch) == pytest.approx(45 - 12 - 6 * 13 / 42)
    ahead = scene_with((0.0, 0.0, 0.0), boxes=[(1.1, 0.0, 0.1, 2.0)])
    np.testing.assert_allclose(camera_pose(ahead), camera_pose(scene_with((0.0, 0.0, 0.0))))


def test_the_camera_swings_round_smoothly():
    still = [(0.0, 0.0, 0.0)] * 9
    turned = [camera_pose(scene_with(*still, *[(0.0, 0.0, 1.0)] * k))[3] for k in range(4)]
    # After one step the new heading weighs (1 - 0.65) / (1 - 0.65^10) = 0.355.
    assert turned[0] == 0
    assert turned[1] == pytest.approx(
        np.arctan2(0.355 * np.sin(1.0), 0.645 + 0.355 * np.cos(1.0)), abs=1e-3
    )
    assert turned[1] < turned[2] < turned[3] < 1.0


def test_the_camera_takes_the_short_way_round():
    heading = camera_pose(scene_with((0.0, 0.0, 3.1), (0.0, 0.0, -3.1)))[3]
    assert abs(heading) > 3.09


@pytest.fixture(params=["mujoco-egl", "software-rays"])
def renderer(request):
    if request.param == "mujoco-egl" and (problem := egl_error()):
        pytest.skip(problem)
    made = make_renderer(240, 240, prefer=request.param)
    yield made
    made.close()


def chase(renderer, moment: NavSceneState, robot=None) -> np.ndarray:
    robot = robot or UnicycleRobot()
    qpos, _ = robot.rest_state(moment.trajectory[-1:, :2], moment.trajectory[-1:, 2])
    scene = ArenaScene.of(robot, moment)
    return renderer.render(scene, scene_positions(moment, qpos[0])).astype(int)


def slate(picture) -> np.ndarray:
    """Return where obstacles are: clearly darker than floor and sky, bluish, not as blue as CART.

    OBSTACLE is (117, 135, 168) times a brightness of 0.6 to 1.15.
    """
    red, green, blue = np.moveaxis(picture, -1, 0)
    return (blue - red > 20) & (blue - red < 75) & (red < 150) & (green > 50)


@pytest.mark.parametrize("robot", [UnicycleRobot(), DiffDriveRobot()])
def test_the_robot_stands_in_the_lower_middle_of_the_chase_view(renderer, robot):
    for heading in (0.0, 2.0):
        picture = chase(renderer, scene_with((0.5, -0.5, heading)), robot)
        rows, columns = np.nonzero(picture[..., 2] - picture[..., 0] > 100)
        # 12 degrees below the middle: 120 + 120 tan(12 deg) / tan(25 deg) = row 174.7.
        assert columns.mean() == pytest.approx(119.5, abs=3)
        assert rows.mean() == pytest.approx(174, abs=8)


def test_an_obstacle_right_ahead_is_seen_right_ahead(renderer):
    ahead = chase(renderer, scene_with((0.0, 0.0, 0.0), cylinders=[(2.5, 0.0, 0.3)]))
    seen = slate(ahead)
    # 4.4 m beyond the camera and 0.6 m wide: 0.6 / 4.6 * 120 / tan(25 deg) = 33 pixels.
    columns = np.nonzero(seen[60:130].any(axis=0))[0]
    assert columns.mean() == pytest.approx(119.5, abs=3)
    assert 26 < np.ptp(columns) < 44
    nothing = chase(renderer, scene_with((0.0, 0.0, 0.0)))
    assert slate(nothing)[60:130, 100:140].mean() < 0.02
    left = chase(renderer, scene_with((0.0, 0.0, 0.0), cylinders=[(2.5, 1.0, 0.3)]))
    assert np.nonzero(slate(left)[60:130].any(axis=0))[0].mean() < 90


def test_movers_are_seen_where_they_are_now(renderer):
    def orange(dy):
        mover = (2.5, 0.0, 0.3, 0.0, dy, 0.5, 0.0)
        picture = chase(renderer, scene_with((0.0, 0.0, 0.0), cylinders=[(3, 3, 0.4), mover]))
        return np.nonzero(picture[..., 0] - picture[..., 2] > 80)[1].mean()

    assert orange(-0.8) > 119.5 + 20
    assert orange(0.0) == pytest.approx(119.5, abs=3)
    assert orange(0.8) < 119.5 - 20


def test_one_sees_through_the_light_over_the_goal_but_not_through_posts(renderer):
    post, goal = (4.0, 0.0, 0.4), (2.5, 0.0)
    where = (slice(70, 100), slice(108, 116))  # beside the flag's pole, above the goal
    through = chase(renderer, scene_with((0.0, 0.0, 0.0), goal=goal, cylinders=[post]))[where]
    alone = chase(renderer, scene_with((0.0, 0.0, 0.0), cylinders=[post]))[where]
    green = (through - alone).mean(axis=(0, 1))
    assert green[1] - green[0] > 10
    assert through.mean() < 190  # the dark post is behind
    posts = [(1.5, 0.0, 0.5)]
    hidden = chase(renderer, scene_with((0.0, 0.0, 0.0), goal=goal, cylinders=posts))
    without = chase(renderer, scene_with((0.0, 0.0, 0.0), cylinders=posts))
    np.testing.assert_allclose(hidden[105:120, 108:132], without[105:120, 108:132], atol=2)


def test_the_view_turns_with_the_robot(renderer):
    posts = [(2.5, 0.0, 0.3), (0.0, 2.5, 0.5)]
    east, north = (
        chase(renderer, scene_with((0.0, 0.0, a), cylinders=posts)) for a in (0.0, np.pi / 2)
    )
    assert east.std() > 20
    assert north.std() > 20
    # The wider post is 1.0 m and 1.0 / 4.6 * 257 = 56 pixels wide.
    assert np.ptp(np.nonzero(slate(east)[60:130, 60:180].any(axis=0))[0]) < 44
    assert np.ptp(np.nonzero(slate(north)[60:130, 60:180].any(axis=0))[0]) > 46


def test_a_new_layout_is_drawn_as_by_a_new_renderer(renderer):
    first = scene_with((0.0, 0.0, 0.0), cylinders=[(2.0, 0.0, 0.3)])
    second = scene_with((1.0, 0.0, 0.0), cylinders=[(3.0, 1.0, 0.4)], boxes=[(2, -1, 0.1, 0.5)])
    chase(renderer, first)
    changed = chase(renderer, second)
    fresh = make_renderer(240, 240, prefer=renderer.name)
    np.testing.assert_allclose(changed, chase(fresh, second), atol=1, rtol=0)
    fresh.close()


def test_both_renderers_show_nearly_the_same_chase(renderer):
    moment = scene_with(
        (0.0, 0.0, 0.3),
        goal=(2.5, 2.0),
        cylinders=[(2.0, -0.5, 0.3), (3.0, 2.0, 0.3, 0.3, 0.3, 0.5, 0.0)],
        boxes=[(0.0, 2.0, 1.0, 0.1)],
    )
    reference = make_renderer(240, 240, prefer="software-rays")
    difference = np.abs(chase(renderer, moment) - chase(reference, moment)).max(axis=-1)
    # Edges, distant tiles and the shine on round things differ.
    assert np.mean(difference > 24) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (480, 960, 3)),
        ({"view": "both"}, (480, 960, 3)),
        ({"view": "top"}, (480, 480, 3)),
        ({"view": "chase"}, (480, 640, 3)),
        ({"width": 320, "height": 160}, (160, 320, 3)),
        ({"width": 64, "height": 48}, (48, 64, 3)),
        ({"width": 40, "height": 60}, (60, 40, 3)),
        ({"view": "top", "width": 90, "height": 60}, (60, 90, 3)),
        ({"view": "top", "width": 60, "height": 90}, (90, 60, 3)),
    ],
)
def test_frames_have_the_size_of_the_view_or_the_one_asked_for(options, shape):
    env = gym.make("robolearn/NavLidar-v0", level=0, render_mode="rgb_array", **options)
    env.reset(seed=0)
    frame = env.render()
    assert (frame.shape, frame.dtype) == (shape, np.uint8)
    env.close()


def test_cart_poles_keep_their_size():
    env = gym.make("robolearn/CartPoleSwingUp-v0", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (480, 640, 3)
    env.close()


def test_both_views_are_the_map_on_the_left_and_the_chase_on_the_right():
    frames = {}
    for view, width in (("both", 360), ("top", 120), ("chase", 240)):
        env = make(view=view, width=width, height=120, level=2)
        env.reset(seed=1)
        frames[view] = env.render().astype(int)
        env.close()
    np.testing.assert_array_equal(frames["both"][:, :120], frames["top"])
    np.testing.assert_allclose(frames["both"][:, 120:], frames["chase"], atol=1)


def test_a_map_stays_square_in_a_frame_that_is_not():
    env = make(width=300, height=200)
    env.reset(seed=0)
    frame = env.render()
    square = make(width=200, height=200)
    square.reset(seed=0)
    np.testing.assert_array_equal(frame[:, 50:250], square.render())
    assert np.ptp(frame[:, :50].reshape(-1, 3), axis=0).max() == 0
    env.close()
    square.close()


def test_an_unknown_view_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown view 'tpo'\. Did you mean 'top'"):
        make(view="tpo")


def test_cart_poles_have_no_views_to_choose_from():
    with pytest.raises(ValueError, match=r"Only navigation has views .* got view='top'"):
        gym.make("robolearn/CartPoleBalance-v0", view="top")


@pytest.mark.parametrize("size", [(0, 480), (960, -1), (1, 10)])
def test_a_size_without_room_for_the_views_is_refused_at_once(size):
    with pytest.raises(ValueError, match=f"positive width and height, got {size[0]} x {size[1]}"):
        make(view="both", width=size[0], height=size[1])


@pytest.mark.slow
@every_nav_and_engine
def test_every_environment_of_a_batch_has_its_own_frame(name, engine):
    envs = make_vec(
        f"robolearn/{name}", 3, engine=engine, level=3, render_mode="rgb_array", width=96, height=48
    )
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(envs.action_space.sample())
    frames = envs.render()
    assert len(frames) == 3
    assert all(frame.shape == (48, 96, 3) for frame in frames)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(frames[one].astype(int) - frames[other]).mean() > 2
    # A frame does not depend on those drawn before it.
    again = envs.render()
    for one, other in zip(frames, again, strict=True):
        np.testing.assert_allclose(one.astype(int), other, atol=1)
    envs.close()


@pytest.mark.parametrize("name", ["NavLidar-v0", "NavDepth-v0"])
def test_the_map_is_the_same_on_every_engine(name):
    maps = {}
    for engine in host_engines(name):
        env = make(name, engine=engine, level=2)
        env.reset(seed=2)
        for _ in range(5):
            env.step(np.array([0.5, 0.3], dtype=np.float32))
        maps[engine] = env.render().astype(int)
        env.close()
    for engine in maps:  # rounding may move a line by a part of a pixel
        assert np.mean(np.abs(maps[engine] - maps["analytic"]).max(axis=-1) > 8) < 1e-3


def test_a_randomized_robot_is_drawn(renderer):
    env = make(view="chase", domain_randomization=0.3, level=1, width=64, height=48)
    env.reset(seed=0)
    assert env.render().std() > 10
    env.close()


def test_environments_that_are_not_rendered_keep_no_trajectories():
    envs = make_vec("robolearn/NavLidar-v0", 2, level=0)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    assert not any(envs.unwrapped._frames._trajectories)
    envs.close()


RENDER = """
import sys
import gymnasium as gym, robolearn_envs

env = gym.make(
    f"robolearn/{sys.argv[1]}", engine=sys.argv[2], level=3, render_mode="rgb_array",
    width=144, height=72,
)
env.reset(seed=0)
env.step(env.action_space.sample())
frame = env.render()
assert frame[:, 72:].std() > 10 and frame[:, :72].std() > 10
print(env.unwrapped.vector_env.renderer_name)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "engine"),
    [("NavLidar-v0", "analytic"), ("NavDepth-v0", "mujoco"), ("NavRover-v0", "bullet")],
)
def test_without_any_opengl_library_there_are_still_both_views(tmp_path, name, engine):
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(HIDE_OPENGL))
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    child = subprocess.run(
        [sys.executable, "-c", RENDER, name, engine],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "software-rays"


@pytest.mark.slow
@every_nav
def test_human_mode_runs_without_a_screen(name, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = make(name, view="both", render_mode="human", width=96, height=48)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render() is None
    env.close()
