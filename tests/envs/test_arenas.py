"""Layouts, their distance maps, and the datasets that keep them."""

import hashlib
import heapq
import itertools
import logging
import math

import numpy as np
import pytest
from scenes import at_time, gap, layouts

from robolearn_envs.maps import dataset as dataset_module
from robolearn_envs.maps import generate as generate_module
from robolearn_envs.maps.dataset import SPLIT_SIZES, check_level, layout_dataset
from robolearn_envs.maps.generate import LEVELS, SPLITS, Layout, generate, layout_of
from robolearn_envs.maps.grid import (
    CELL_CENTERS,
    clearance,
    extrapolate_distance_map,
    free_cells,
    interpolate_distance,
    shortest_path_map,
)
from robolearn_envs.maps.obstacles import pad_obstacles, swept_clearance

every_level = pytest.mark.parametrize("level", range(5))


def lookup_all(layout, points):
    """Return a layout's distance field at several points."""
    return interpolate_distance(np.repeat(layout.distance_map[None], len(points), axis=0), points)


def furniture(layout):
    """Return goal and obstacles in centimeters (and centiradians), without padding."""
    parts = (layout.goal, layout.cylinders, layout.boxes)
    return tuple(np.rint(100 * part).astype(np.int64).tobytes() for part in parts)


@every_level
def test_a_level_has_the_obstacles_of_the_data_sheet(level):
    for layout in layouts(level):
        moving = (layout.cylinders[:, 5] != 0).sum()
        expected = [(0, 0), (4, 0), (8, 0), (12, 4), (2, 0)][level]
        assert (len(layout.cylinders), moving) == expected
        assert len(layout.boxes) <= (9 if level == 4 else 0)
    assert (max(len(layout.boxes) for layout in layouts(level)) >= 5) == (level == 4)


@every_level
def test_every_coordinate_is_a_whole_centimeter(level):
    for layout in layouts(level):
        for part in (layout.goal, layout.cylinders, layout.boxes):
            np.testing.assert_allclose(100 * part, np.rint(100 * part), atol=1e-9)


@every_level
def test_no_two_splits_share_a_goal_cell_or_a_layout(level):
    colors = {
        # Goals lie in the middle of cells of 0.1 m, the first from -5 to -4.9 m.
        split: {round((one.goal.sum() + 9.9) / 0.1) % 4 for one in layouts(level, split, 10)}
        for split in SPLITS
    }
    for one, other in itertools.combinations(colors.values(), 2):
        assert not one & other
    drawn = [furniture(one) for split in SPLITS for one in layouts(level, split, 10)]
    assert len(set(drawn)) == len(drawn) if level else True  # empty arenas differ in their goals
    places = [{one.goal.tobytes() for one in layouts(level, split, 10)} for split in SPLITS]
    assert not places[0] & places[1] | places[0] & places[2] | places[1] & places[2]


@every_level
def test_a_goal_is_well_clear_of_everything(level):
    for layout in layouts(level):
        still = layout.cylinders[layout.cylinders[:, 5] == 0]
        assert gap(*layout.goal, still[:, :3].tolist(), layout.boxes.tolist()) >= 0.5 - 1e-9


@every_level
def test_every_start_has_2_to_8_meters_to_go_and_room_to_stand(level):
    for layout in layouts(level):
        assert layout.starts.shape == (256, 2)
        way = lookup_all(layout, layout.starts)
        assert way.min() >= 2.0 - 1e-6
        assert way.max() <= 8.0 + 1e-6
        cylinders = at_time(layout.cylinders, 0.0).tolist()
        room = [gap(*start, cylinders, layout.boxes.tolist()) for start in layout.starts]
        # 0.3 m, of movers a little less: they are looked at every 0.3 m of their swing, and the
        # start may be shifted by 0.05 m each way; a robot of radius 0.2 m still touches nothing.
        assert min(room) >= (0.27 if level == 3 else 0.3 - 1e-9)
    assert len(np.unique(layout.starts, axis=0)) > 100


def test_movers_touch_neither_goal_nor_walls_nor_each_other_wherever_they_swing():
    swings = np.linspace(-1, 1, 41)
    for layout in layouts(3):
        movers, still = layout.cylinders[:4], layout.cylinders[4:]
        assert (movers[:, 5] != 0).all()
        tracks = movers[:, None, :2] + swings[None, :, None] * movers[:, None, 3:5]  # (4, 41, 2)
        for track, mover in zip(tracks, movers, strict=True):
            radius = mover[2]
            assert (np.linalg.norm(track - layout.goal, axis=-1) - radius).min() > 0.5
            assert (5 - np.abs(track).max(axis=-1) - radius).min() > 0.0
            apart = np.linalg.norm(track[:, None] - still[None, :, :2], axis=-1)
            assert (apart - still[:, 2] - radius).min() > 0.0
        for (one, a), (other, b) in itertools.combinations(zip(tracks, movers, strict=True), 2):
            apart = np.linalg.norm(one[:, None] - other[None], axis=-1)
            assert apart.min() > a[2] + b[2]


def test_movers_move_at_walking_speed():
    for layout in layouts(3):
        reach = np.hypot(layout.cylinders[:4, 3], layout.cylinders[:4, 4])
        fastest = reach * layout.cylinders[:4, 5]
        assert reach.min() > 0.45
        assert fastest.min() > 0.18
        assert fastest.max() < 0.52


MOVES = [
    (dx, dy)
    for dx, dy in itertools.product(range(-2, 3), repeat=2)
    if math.gcd(dx, dy) == 1 and (dx, dy) != (0, 0)
]


def slow_dijkstra(free, goal):
    """Dijkstra with a heap over the 16-neighbor grid. A knight's move passes two more cells."""
    distance, queue = {goal: 0.0}, [(0.0, goal)]
    while queue:
        so_far, (x, y) = heapq.heappop(queue)
        if so_far > distance[x, y]:
            continue
        for dx, dy in MOVES:
            between = []
            if abs(dx) == 2:
                between = [(x + dx // 2, y), (x + dx // 2, y + dy)]
            elif abs(dy) == 2:
                between = [(x, y + dy // 2), (x + dx, y + dy // 2)]
            reached = (x + dx, y + dy)
            if all(cell in free for cell in [reached, *between]):
                longer = so_far + 0.1 * math.hypot(dx, dy)
                if longer < distance.get(reached, math.inf) - 1e-12:
                    distance[reached] = longer
                    heapq.heappush(queue, (longer, reached))
    return distance


@pytest.mark.parametrize("level", [2, 4])
def test_the_distance_field_is_what_a_slow_dijkstra_finds(level):
    layout = layouts(level)[1]
    coordinate = [-4.95 + 0.1 * k for k in range(100)]
    cylinders, boxes = layout.cylinders[:, :3].tolist(), layout.boxes.tolist()
    free = {
        (i, j)
        for i, j in itertools.product(range(100), repeat=2)
        if gap(coordinate[i], coordinate[j], cylinders, boxes) >= 0.3 - 1e-9
    }
    goal = tuple(int(k) for k in np.rint((layout.goal + 4.95) / 0.1))
    found = slow_dijkstra(free, goal)
    assert len(found) > 3000
    for cell, expected in found.items():
        assert layout.distance_map[cell] == pytest.approx(expected, abs=1e-5)
    # Elsewhere it goes on rising from the nearest cell that can be reached.
    beyond = [cell for cell in itertools.product(range(100), repeat=2) if cell not in found]
    assert np.isfinite([layout.distance_map[cell] for cell in beyond]).all()


def test_in_an_empty_arena_the_way_is_straight_to_within_2_8_percent():
    goal = (30, 60)
    free = free_cells(np.zeros((0, 7)), np.zeros((0, 4)))
    way = shortest_path_map(free, goal)
    # Centers 0.3 m or more from the walls: 94 of 100 cells along each side.
    assert free.sum() == 94**2
    x, y = np.meshgrid(CELL_CENTERS, CELL_CENTERS, indexing="ij")
    straight = np.hypot(x - CELL_CENTERS[30], y - CELL_CENTERS[60])
    inside = free & (straight > 0)
    assert (way[inside] >= straight[inside] - 1e-9).all()
    assert (way[inside] / straight[inside]).max() <= 1.028
    assert (way[inside] / straight[inside]).max() > 1.01
    assert not np.isfinite(way[~free]).any()


@every_level
def test_no_way_is_shorter_than_the_straight_one(level):
    for layout in layouts(level)[:5]:
        straight = np.linalg.norm(layout.starts - layout.goal, axis=-1)
        assert (lookup_all(layout, layout.starts) >= straight - 1e-5).all()


def test_cells_without_a_way_count_on_from_the_nearest_that_has_one():
    way = np.array([[0.0, 0.1, np.inf, np.inf]])
    np.testing.assert_allclose(extrapolate_distance_map(way), [[0.0, 0.1, 0.2, 0.3]], rtol=1e-6)


def test_a_field_is_read_bilinearly_between_the_cells_centers():
    field = np.zeros((100, 100), dtype=np.float32)
    field[50:52, 50:52] = [[1.0, 2.0], [3.0, 5.0]]  # centers at 0.05 and 0.15 m
    points = np.array([[0.05, 0.05], [0.15, 0.05], [0.1, 0.05], [0.05, 0.1], [0.125, 0.1]])
    # The last: 3/4 of the way in x, half in y: (1 + 2) / 2 / 4 + 3 (3 + 5) / 2 / 4 = 3.375.
    expected = [1.0, 3.0, 2.0, 1.5, 3.375]
    got = interpolate_distance(np.repeat(field[None], 5, axis=0), points)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_many_points_may_be_looked_up_in_few_fields():
    rng = np.random.default_rng(0)
    field, which = rng.uniform(0, 9, (3, 100, 100)), np.array([2, 0, 0, 2, 1, 2])
    points = rng.uniform(-5.1, 5.1, (6, 2))
    got = interpolate_distance(field, points, which)
    np.testing.assert_array_equal(got, interpolate_distance(field[which], points))
    assert (got != interpolate_distance(field[[0, 1, 2, 0, 1, 2]], points)).any()


def test_the_rooms_of_level_4_are_all_joined():
    for layout in layouts(4):
        rooms = [(1.25 + 2.5 * c - 5, 1.25 + 2.5 * r - 5) for c in range(4) for r in range(4)]
        walls = free_cells(np.zeros((0, 7)), layout.boxes)
        goal = tuple(int(k) for k in np.rint((layout.goal + 4.95) / 0.1))
        way = shortest_path_map(walls, goal)
        cells = [tuple(int((k + 5) / 0.1) for k in room) for room in rooms]
        assert all(np.isfinite(way[cell]) for cell in cells)


def test_a_field_leads_around_walls():
    # A wall from the lower edge up to y = 3 between start (-2.95, -1.95) and goal (3.05, -1.95).
    boxes = np.array([[0.0, -1.0, 0.1, 4.0]])
    way = shortest_path_map(free_cells(np.zeros((0, 7)), boxes), (80, 30))
    # A taut string bends 0.3 m from the corners (-+0.1, 3), at about (-+0.33, 3.2):
    # hypot(2.62, 5.15) + 0.66 + hypot(2.72, 5.15) = 12.26 m; the grid's is up to 2.8 % longer.
    assert 12.26 * 0.99 < way[20, 30] < 12.26 * 1.028


@pytest.mark.slow
@every_level
@pytest.mark.parametrize("split", SPLITS)
def test_only_candidates_that_cannot_be_solved_are_left_out(level, split):
    key = 1000 * level + list(SPLITS).index(split)
    candidates = (
        generate_module._candidate(LEVELS[level], SPLITS[split], generate_module._Draws(key, k))
        for k in itertools.count()
    )
    solved = (layout for layout in candidates if layout is not None)
    for expected, layout in zip(itertools.islice(solved, 25), layouts(level, split), strict=True):
        for part, other in zip(expected, layout, strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.mark.slow
@every_level
@pytest.mark.parametrize("split", SPLITS)
def test_the_generator_gives_the_same_layouts_as_ever(level, split):
    digest = hashlib.sha256(b"".join(b"".join(furniture(one)) for one in generate(level, split, 8)))
    assert digest.hexdigest()[:16] == PINNED[level, split], (
        "The generator has changed: raise maps.dataset.VERSION, or cached layouts differ from new "
        "ones, and pin the new layouts here."
    )


PINNED = {
    (0, "train"): "813e7afc7860946b",
    (0, "val"): "24fe2ddbd0f6f5b9",
    (0, "test"): "360d9f04f51b9876",
    (1, "train"): "2581ba4900f16bd8",
    (1, "val"): "a7c29bf7f01b4aa5",
    (1, "test"): "99923233344641c6",
    (2, "train"): "e969bbbbc169ef16",
    (2, "val"): "fa8b8b4a05d01ffc",
    (2, "test"): "f56629ac64ea62a0",
    (3, "train"): "5d257b3c94d58792",
    (3, "val"): "bebc5254bf6236bf",
    (3, "test"): "816274ad1483990a",
    (4, "train"): "01bb3e47a6844b42",
    (4, "val"): "275133023416f858",
    (4, "test"): "af3a36f2aab4a409",
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and datasets of five layouts."""
    monkeypatch.delenv("ROBOLEARN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(SPLIT_SIZES, "test", 5)
    layout_dataset.cache_clear()
    yield tmp_path / "robolearn"
    layout_dataset.cache_clear()


def all_layouts(level, split):
    """Return all layouts of a dataset, stacked."""
    dataset = layout_dataset(level, split)
    dataset.build_all()
    return dataset.layouts


def assert_same_layouts(one, other):
    for name, part, expected in zip(Layout._fields, one, other, strict=True):
        np.testing.assert_array_equal(part, expected, err_msg=name)
        assert part.dtype == expected.dtype


def rebuilt(level, split):
    layout_dataset.cache_clear()
    return all_layouts(level, split)


@pytest.mark.parametrize("level", [0, 3, 4])
def test_a_dataset_holds_the_generated_layouts_stacked(cache, level):
    kept = all_layouts(level, "test")
    size = LEVELS[level]
    for k, layout in enumerate(generate(level, "test", 5)):
        np.testing.assert_array_equal(kept.goal[k], layout.goal)
        np.testing.assert_array_equal(kept.distance_map[k], layout.distance_map)
        np.testing.assert_array_equal(kept.starts[k], layout.starts)
        np.testing.assert_array_equal(kept.cylinders[k], layout.cylinders)
        np.testing.assert_array_equal(kept.boxes[k], pad_obstacles(layout.boxes, size.boxes))
    assert len(kept.goal) == 5


def test_a_dataset_is_built_once_and_read_from_the_cache_after_that(cache, monkeypatch, caplog):
    first = all_layouts(2, "test")
    assert "Building 5 layouts of level 2" in caplog.text
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(dataset_module, "layout_of", None)  # building again would fail
    assert all_layouts(2, "test") is first
    caplog.clear()
    assert_same_layouts(rebuilt(2, "test"), first)
    assert caplog.text == ""


def test_only_the_layouts_asked_for_are_built_and_kept_on_disk_once_all_are(cache, monkeypatch):
    built = []

    def noted(level, split, index):
        built.append(index)
        return layout_of(level, split, index)

    monkeypatch.setattr(dataset_module, "layout_of", noted)
    dataset = layout_dataset(2, "test")
    dataset.build(np.array([3, 1, 3]))
    assert sorted(built) == [1, 3]
    assert not cache.exists()
    for index in (1, 3):
        expected = layout_of(2, "test", index)
        np.testing.assert_array_equal(dataset.layouts.goal[index], expected.goal)
        np.testing.assert_array_equal(dataset.layouts.distance_map[index], expected.distance_map)
    dataset.build(np.array([1]))
    dataset.build_all()
    assert sorted(built) == [0, 1, 2, 3, 4]  # each once
    assert len(list(cache.iterdir())) == 1


def test_the_cache_can_be_elsewhere(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_CACHE", str(tmp_path / "elsewhere"))
    all_layouts(1, "test")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert not cache.exists()


def test_a_dataset_that_is_built_again_is_the_same(cache):
    first = all_layouts(3, "test")
    next(cache.iterdir()).unlink()
    assert_same_layouts(rebuilt(3, "test"), first)


def flipped(content):
    """Return the content with one byte in eight of its middle changed."""
    middle = bytearray(content)
    for k in range(len(content) // 3, 2 * len(content) // 3, 8):
        middle[k] ^= 0x5A
    return bytes(middle)


def as_npy(content):
    return b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"


DAMAGES = {
    "emptied": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "cut off within the first": lambda content: content[:100],
    "overwritten": lambda content: b"no zip file at all",
    "flipped": flipped,
    "one byte flipped": lambda content: content[:5000] + b"\xff\x00" + content[5002:],
    "an array instead": lambda content: as_npy(content).ljust(127) + b"\n" + bytes(8),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_file_is_built_anew_with_a_warning(cache, damage, caplog):
    whole = all_layouts(2, "test")
    file = next(cache.iterdir())
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    with caplog.at_level(logging.WARNING):
        assert_same_layouts(rebuilt(2, "test"), whole)
    assert "built again" in caplog.text
    assert str(file) in caplog.text
    caplog.clear()
    assert_same_layouts(rebuilt(2, "test"), whole)  # and now it is whole again
    assert caplog.text == ""


def in_file(layouts):
    """Return arrays by their names in the file."""
    return {{"distance_map": "field"}.get(k, k): part for k, part in layouts._asdict().items()}


def test_a_cache_file_of_another_size_is_built_anew(cache, caplog):
    whole = all_layouts(2, "test")
    file = next(cache.iterdir())
    np.savez_compressed(file, **in_file(whole._replace(goal=whole.goal[:4])))
    assert_same_layouts(rebuilt(2, "test"), whole)
    np.savez_compressed(file, goal=whole.goal)  # the other parts are not there at all
    assert_same_layouts(rebuilt(2, "test"), whole)
    assert caplog.text.count("built again") == 2


def test_where_nothing_can_be_kept_the_dataset_is_built_and_says_so(cache, caplog):
    cache.write_text("a file where the folder should be")
    kept = all_layouts(2, "test")
    assert len(kept.goal) == 5
    assert "could not be kept" in caplog.text
    assert cache.read_text() == "a file where the folder should be"


@pytest.mark.parametrize("level", [-1, 5, 9, "2", 2.0, True, None])
def test_a_level_that_is_not_there_is_refused(level):
    with pytest.raises(ValueError, match=r"level must be one of 0\.\.4, got"):
        check_level(level, "train")


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'foo'"):
        layout_dataset(2, "foo")


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.0, 0.0), 1.0),  # from the post at (1.5, 0)
        ((1.4, 0.0), -0.4),  # inside it
        ((0.0, 4.0), 1.0),  # the wall
        ((-3.0, 2.0), math.hypot(0.5, 1.1)),  # left of and above the box's corner
        ((-2.0, 0.7), -0.2),  # inside the box, 0.2 m below its upper side
        ((-2.0, 1.4), 0.5),  # above it
    ],
)
def test_clearance_by_hand(point, expected):
    # A post of radius 0.5 at (1.5, 0), a box from (-2.5, 0.1) to (-1.5, 0.9).
    boxes = np.array([[[-2.0, 0.5, 0.5, 0.4]]])
    posts = np.array([[[1.5, 0.0, 0.5]]])
    assert clearance(np.array([point]), posts, boxes)[0] == pytest.approx(expected)


def crossing(rng):
    """Return a way, posts that move meanwhile and boxes; all as a batch of one."""
    start = rng.uniform(-4.9, 4.9, (1, 2))
    end = np.clip(start + rng.normal(0, 0.6, (1, 2)), -4.95, 4.95)
    posts = np.concatenate([start + rng.normal(0, 0.8, (4, 2)), rng.uniform(0.1, 0.4, (4, 1))], 1)
    moved = posts + np.concatenate([rng.normal(0, 0.3, (4, 2)), np.zeros((4, 1))], axis=1)
    boxes = np.concatenate([start + rng.normal(0, 0.8, (4, 2)), rng.uniform(0.05, 0.5, (4, 2))], 1)
    return start, end, posts[None], moved[None], boxes[None]


def test_on_a_way_the_nearest_surface_is_what_many_points_along_it_find():
    rng = np.random.default_rng(7)
    touched = 0
    for _ in range(300):
        start, end, posts, moved, boxes = crossing(rng)
        got = swept_clearance(start, end, posts, moved, boxes, 5.0)[0]
        parts = np.linspace(0.0, 1.0, 200)
        expected = min(
            gap(
                *(start + part * (end - start))[0],
                (posts + part * (moved - posts))[0].tolist(),
                boxes[0].tolist(),
            )
            for part in parts
        )
        # Between two points robot and post come no nearer than half of what they move.
        step = np.linalg.norm(end - start) + np.linalg.norm((moved - posts)[0], axis=-1).max()
        if expected > 0:
            assert expected - step / 400 - 1e-9 <= got <= expected + 1e-9
        else:
            assert got <= 0
            touched += 1
    assert 50 < touched < 250


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((-3.0, 0.0), (3.0, 0.0), 0.0),  # through the wall, 0.02 m thick, between two steps
        ((-1.0, -2.0), (-1.0, 3.0), 0.99),  # along it
        ((-0.31, 2.0), (-2.31, 2.0), 0.3),  # away from it: it was nearest where it began
        ((0.0, 4.2), (0.0, 4.2), 0.2),  # stands beyond its end
        ((-2.0, 3.0), (2.0, 5.0), 0.0),  # to the arena's wall, over the end: hypot(0, 0) beyond
    ],
)
def test_a_way_past_a_thin_wall_by_hand(start, end, expected):
    wall = np.array([[[0.0, 0.0, 0.01, 4.0]]])
    none = np.zeros((1, 0, 3))
    got = swept_clearance(np.array([start]), np.array([end]), none, none, wall, 5.0)[0]
    assert got == pytest.approx(expected)


def test_a_post_that_comes_past_meanwhile_is_touched():
    # It flies from 1 m left of a robot that stands to 1 m right of it.
    here, none = np.zeros((1, 2)), np.zeros((1, 0, 4))
    post, gone = np.array([[[-1.0, 0.1, 0.3]]]), np.array([[[1.0, 0.1, 0.3]]])
    got = swept_clearance(here, here, post, gone, none, 5.0)[0]
    assert got == pytest.approx(0.1 - 0.3)
