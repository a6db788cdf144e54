"""What lidar and depth camera see: engines against the closed form, that against slow oracles."""

import math

import numpy as np
import pytest
from optional_torch import needs_torch, torch
from scenes import (
    Scene,
    cast_image,
    closed_form_depth,
    closed_form_lidar,
    depth_image,
    gap,
    lidar_ranges,
    march,
    march_pixel,
    random_scenes,
)
from scipy.ndimage import maximum_filter, minimum_filter

from robolearn_envs.engines import make_engine
from robolearn_envs.maps.grid import clearance
from robolearn_envs.robots import DiffDriveRobot, UnicycleRobot

ONE = np.array([0])
every_engine = pytest.mark.parametrize("name", ["mujoco", "bullet", "analytic"])


@pytest.fixture
def engine(name):
    engine = make_engine(name, UnicycleRobot(), 0.02, 1)
    yield engine
    engine.close()


def scene(x=0.0, y=0.0, heading=0.0, cylinders=(), boxes=()):
    shaped = np.reshape(np.array(cylinders, float), (1, -1, 3))
    walls = np.reshape(np.array(boxes, float), (1, -1, 4))
    return Scene(np.array([[x, y]]), np.array([heading]), shaped, walls)


def scan(engine, scene):
    """Return the 36 ranges of a robot in a scene."""
    engine.set_obstacles(ONE, scene.cylinders, scene.boxes)
    return lidar_ranges(engine, ONE, scene.xy, scene.heading)[0]


def depth(engine, scene):
    """Return the image of a robot in a scene. Shape (64, 64)."""
    engine.set_obstacles(ONE, scene.cylinders, scene.boxes)
    return depth_image(engine, ONE, scene.xy, scene.heading)[0]


def cast(engine, scene):
    """Return the same by a ray in 3D for each pixel. Shape (64, 64)."""
    engine.set_obstacles(ONE, scene.cylinders, scene.boxes)
    return cast_image(engine, ONE, scene.xy, scene.heading)[0]


@every_engine
def test_the_first_ray_points_ahead_and_the_others_follow_anticlockwise(engine):
    # At (1, 2) heading along +y, every ray is 10 degrees further round than the one before.
    ranges = scan(engine, scene(x=1.0, y=2.0, heading=math.pi / 2))
    assert ranges.shape == (36,)
    # Ahead the wall at y = 5; left (+90 degrees, -x) it is 6 m away and behind 7 m, both out of
    # reach; right it is at x = 5.
    assert ranges[[0, 9, 18, 27]] == pytest.approx([3.0, 5.0, 5.0, 4.0], abs=1e-6)
    # 30 degrees to either side of ahead: 3 / cos(30 deg) = 3.4641016
    assert ranges[[3, 33]] == pytest.approx([3.4641016, 3.4641016], abs=1e-6)


@every_engine
def test_a_ray_stops_at_the_surface_of_what_it_meets_first(engine):
    got = scan(
        engine,
        scene(
            cylinders=[(2.0, 0.0, 0.5), (4.0, 0.0, 0.2), (-2.0, 0.3, 0.5)],
            boxes=[(0.0, 3.0, 1.0, 0.25)],
        ),
    )
    # Ahead 2 - 0.5; behind the ray passes 0.3 m off the middle, 2 - sqrt(0.5^2 - 0.3^2) = 1.6;
    # left 3 - 0.25; right the wall.
    assert got[[0, 18, 9, 27]] == pytest.approx([1.5, 1.6, 2.75, 5.0], abs=1e-6)


@every_engine
def test_no_ray_goes_farther_than_five_meters(engine):
    far = scan(engine, scene(x=-4.5, y=-4.5, heading=math.pi / 4))
    assert far.max() == 5.0
    assert far[0] == 5.0  # along the diagonal: 9.5 sqrt(2) m to the corner
    assert far[18] == pytest.approx(0.5 * math.sqrt(2), abs=1e-6)


@every_engine
def test_moved_cylinders_are_seen_where_they_are(engine):
    first = scene(cylinders=[(2.0, 0.0, 0.5), (0.0, -3.0, 0.4)])
    assert scan(engine, first)[[0, 27]] == pytest.approx([1.5, 2.6], abs=1e-6)
    engine.set_obstacle_positions(np.array([[[-3.0, 0.0, 0.5], [0.0, -3.0, 0.4]]]))
    moved = lidar_ranges(engine, ONE, first.xy, first.heading)[0]
    assert moved[[0, 18, 27]] == pytest.approx([5.0, 2.5, 2.6], abs=1e-6)


@every_engine
def test_what_stood_there_before_is_gone(engine):
    scan(engine, scene(cylinders=[(2.0, 0.0, 0.5)], boxes=[(0.0, 3.0, 1.0, 0.25)]))
    # One cylinder of another size in place of it, and a padding box.
    again = scan(engine, scene(cylinders=[(-2.0, 0.0, 0.3)], boxes=[(1000.0, 1000.0, 0.01, 0.01)]))
    assert again[[0, 9, 18]] == pytest.approx([5.0, 5.0, 1.7], abs=1e-6)


@pytest.mark.parametrize("name", ["mujoco", "bullet"])
@pytest.mark.parametrize("robot", [UnicycleRobot(), DiffDriveRobot()], ids=["disc", "rover"])
def test_a_robot_does_not_see_itself(name, robot):
    engine = make_engine(name, robot, 0.01, 1)
    here = scene(x=1.0, y=-2.0, heading=0.4, cylinders=[(2.0, -1.0, 0.3)])
    engine.reset(ONE, *robot.rest_state(here.xy, here.heading), None)
    expected = closed_form_lidar(*here)
    np.testing.assert_allclose(scan(engine, here), expected[0], atol=1e-6)
    for sees in (depth, cast):
        assert np.abs(sees(engine, here) - closed_form_depth(*here)[0]).mean() < 0.05
    engine.close()


@pytest.mark.parametrize("name", ["mujoco", "bullet"])
def test_lidar_is_the_closed_form_to_a_micrometer_in_99_of_100_rays(engine):
    scenes = random_scenes(levels=(1, 2, 3, 4), count=100, seed=0)
    expected = np.array([closed_form_lidar(*one)[0] for one in scenes])
    error = np.abs(np.array([scan(engine, one) for one in scenes]) - expected)
    assert (expected < 5).mean() > 0.6  # there is much to be seen
    assert (error <= 1e-6).mean() >= 0.99
    assert error.max() <= 0.02  # rays that graze a curved surface


def test_closed_form_lidar_is_what_a_marching_ray_finds():
    for one in random_scenes(levels=(1, 2, 3, 4), count=12, seed=1):
        expected = [march(one, k * math.pi / 18) for k in range(36)]
        np.testing.assert_allclose(closed_form_lidar(*one)[0], expected, atol=1e-6)


def test_clearance_is_the_distance_written_out_shape_by_shape():
    rng = np.random.default_rng(2)
    for one in random_scenes(levels=(1, 2, 3, 4), count=8, seed=2):
        for point in rng.uniform(-4.9, 4.9, (100, 2)):  # some of them inside obstacles
            got = clearance(point[None], one.cylinders, one.boxes)[0]
            expected = gap(*point, one.cylinders[0].tolist(), one.boxes[0].tolist())
            assert got == pytest.approx(expected, abs=1e-12)


def edges(image):
    """Return pixels beside which the depth changes by more than 0.3 m."""
    return maximum_filter(image, 3) - minimum_filter(image, 3) > 0.3


@pytest.mark.parametrize("sees", [depth, cast], ids=["by columns", "in 3D"])
@pytest.mark.parametrize("name", ["mujoco", "bullet"])
def test_depth_is_the_closed_form_to_a_centimeter_but_at_edges(engine, sees):
    errors = []
    for one in random_scenes(levels=(0, 1, 2, 3, 4), count=20, seed=3):
        expected = closed_form_depth(*one)[0]
        compared = (expected < 5) & ~edges(expected)
        assert compared.mean() > 0.2
        errors.append(np.abs(sees(engine, one) - expected)[compared])
    assert np.concatenate(errors).mean() <= 0.01
    # In no scene may a whole thing be missing; near its outline Bullet's facets may be.
    assert max(np.median(error) for error in errors) <= 1e-3


def test_closed_form_depth_is_what_a_marching_ray_finds():
    rng = np.random.default_rng(4)
    for one in random_scenes(levels=(1, 2, 3, 4), count=8, seed=4):
        image = closed_form_depth(*one)[0]
        for row, column in rng.integers(64, size=(40, 2)):
            down, right = (2 * row - 63) / 64, (2 * column - 63) / 64  # of a pixel's middle
            expected = march_pixel(one, right, down)
            assert image[row, column] == pytest.approx(expected, abs=1e-5), (row, column)


@every_engine
@pytest.mark.parametrize("sees", [depth, cast], ids=["by columns", "in 3D"])
def test_an_image_has_the_floor_below_and_left_on_its_left(engine, sees):
    # A post of radius 0.3 m, 2 m ahead and 1 m to the left; nothing else within 5 m.
    image = sees(engine, scene(cylinders=[(2.0, 1.0, 0.3)]))
    assert image.shape == (64, 64)
    # A pixel in row r sees (2 r - 63) / 64 down at 1 m, and the floor is 0.3 m down: row 63 meets
    # it at 0.3 / (63 / 64) = 0.304762 m, row 40 at 0.3 / (17 / 64) = 1.129412 m.
    assert image[63] == pytest.approx(np.full(64, 0.304762), abs=0.005)
    assert image[40] == pytest.approx(np.full(64, 1.129412), abs=0.01)
    # Half a meter left at 1 m lie columns 15 and 16. The ray of column 16, 31 / 64 to the left,
    # meets the post where (d - 2)^2 + (31/64 d - 1)^2 = 0.3^2: d = 1.743455.
    assert image[32, 16] == pytest.approx(1.743455, abs=0.01)
    assert image[32, 15] < 1.8
    assert (image[32, 32:] == 5.0).all()
    # Up at 1 m: the post's top is 0.7 m above the camera. In row 18 the ray climbs 27 / 64 and is
    # at 0.74 m of 0.7 when it gets there: it clears the post; row 20, 23 / 64, does not.
    assert image[18, 16] == 5.0
    assert image[20, 16] == pytest.approx(1.743455, abs=0.01)


@every_engine
def test_depth_is_measured_along_the_cameras_axis(engine):
    # A wall 2 m ahead fills the picture's middle rows with the same depth from left to right.
    image = depth(engine, scene(x=3.0, heading=0.0))
    assert image[30] == pytest.approx(np.full(64, 2.0), abs=0.005)


@needs_torch
def test_sensors_are_the_same_on_torch():
    for one in random_scenes(levels=(3, 4), count=4, seed=5):
        on_torch = [torch.from_numpy(part) for part in one]
        for sense in (closed_form_lidar, closed_form_depth):
            np.testing.assert_allclose(sense(*on_torch).numpy(), sense(*one), atol=1e-12)


@every_engine
def test_a_ray_is_as_long_as_its_direction_says_and_meets_the_floor(engine):
    # From (1, 0, 0.4): down to the floor in 0.4 / 0.1 lengths; level to the wall, 4 m or 2 lengths
    # of 2 m; up over all walls, 1 m high, and nothing behind; and as far as asked for.
    engine.set_obstacles(ONE, np.zeros((1, 0, 3)), np.zeros((1, 0, 4)))
    rays = np.array([[[0.5, 0.0, -0.1], [2.0, 0.0, 0.0], [1.0, 0.0, 1.0], [-0.1, 0.0, 0.0]]])
    got = engine.raycast(ONE, np.array([[1.0, 0.0, 0.4]]), rays, 9.0)
    np.testing.assert_allclose(got, [[4.0, 2.0, 9.0, 9.0]], atol=1e-6)
