"""Observations become vectors and actions what the environment takes, by hand."""

import json
import tracemalloc
from collections import OrderedDict

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate
from hypothesis import given
from hypothesis import strategies as st

from robolearn.errors import RobolearnError
from robolearn.spaces import (
    action_width,
    flat_size,
    flatten_any,
    flatten_batch,
    from_env_action,
    magnitudes,
    to_env_action,
)
from robolearn.spaces_json import space_from_json, space_to_json


def test_actions_span_a_bounded_box():
    # [-2, 4] has half-width 3 around 1: -1 -> -2, 0 -> 1, 0.5 -> 2.5, 1 -> 4; beyond is clipped.
    space = spaces.Box(-2.0, 4.0, (1,), np.float32)
    action = np.array([[-1.0], [0.0], [0.5], [1.0], [7.0], [-7.0]], np.float32)
    assert to_env_action(space, action).squeeze(1).tolist() == [-2, 1, 2.5, 4, 4, -2]


def test_each_coordinate_has_its_own_bounds_and_the_box_its_shape():
    space = spaces.Box(np.array([[0.0, -1.0]]), np.array([[2.0, 1.0]]), dtype=np.float64)
    action = to_env_action(space, np.array([[0.5, 0.5], [-1.0, 0.0]], np.float32))
    assert action.shape == (2, 1, 2)
    assert action.dtype == np.float64
    assert action.tolist() == [[[1.5, 0.5]], [[0.0, 0.0]]]


def test_actions_of_pendulum_reach_its_torques():
    env = gym.make("Pendulum-v1")
    space = env.action_space
    env.close()
    assert to_env_action(space, np.array([[1.0], [-0.5]], np.float32)).tolist() == [[2.0], [-1.0]]


def test_actions_of_an_unbounded_box_stay_as_they_are():
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert to_env_action(space, np.array([[30.0, -40.0]])).tolist() == [[30.0, -40.0]]


def test_coordinates_with_one_bound_are_clipped_to_it_and_those_with_two_are_scaled():
    # Bounds [0, inf), (-inf, 1] and [0, 4]; the last has half-width 2 around 2.
    low, high = np.array([[0.0, -np.inf, 0.0], [np.inf, 1.0, 4.0]], np.float32)
    space = spaces.Box(low, high)
    action = np.array([[-3.0, 5.0, 0.5], [7.0, -9.0, 3.0]], np.float32)
    taken = to_env_action(space, action)
    assert taken.tolist() == [[0.0, 1.0, 3.0], [7.0, -9.0, 4.0]]
    assert all(space.contains(one) for one in taken)
    assert from_env_action(space, taken).tolist() == [[0.0, 1.0, 0.5], [7.0, -9.0, 1.0]]


def test_discrete_actions_begin_where_the_space_does():
    assert to_env_action(spaces.Discrete(3, start=-1), np.array([0, 1, 2])).tolist() == [-1, 0, 1]


def test_several_discrete_actions_have_the_shape_and_the_starts_of_their_space():
    space = spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [-1, 10]])
    action = np.array([[0, 0, 0, 0], [1, 2, 3, 4]])
    taken = to_env_action(space, action)
    assert taken.tolist() == [[[0, 1], [-1, 10]], [[1, 3], [2, 14]]]
    assert all(space.contains(one) for one in taken)
    assert from_env_action(space, taken).tolist() == action.tolist()
    assert action_width(space) == 2 + 3 + 4 + 5
    switches = spaces.MultiBinary(3)
    taken = to_env_action(switches, np.array([[0, 1, 1]]))
    assert switches.contains(taken[0])
    assert from_env_action(switches, taken).tolist() == [[0, 1, 1]]
    assert action_width(switches) == 6  # two logits each


def test_a_policys_actions_for_the_environments_by_hand():
    # [-2, 4] has half-width 3 around 1: -2 -> -1, 1 -> 0, 2.5 -> 0.5, 4 -> 1; beyond is clipped.
    space = spaces.Box(-2.0, 4.0, (1,), np.float32)
    action = np.array([[-2.0], [1.0], [2.5], [4.0], [7.0], [-7.0]], np.float32)
    found = from_env_action(space, action)
    assert found.dtype == np.float32
    assert found.squeeze(1).tolist() == [-1, 0, 0.5, 1, 1, -1]
    matrix = spaces.Box(np.array([[0.0, -1.0]]), np.array([[2.0, 1.0]]), dtype=np.float64)
    assert from_env_action(matrix, np.array([[[1.5, 0.5]]])).tolist() == [[0.5, 0.5]]
    free = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert from_env_action(free, np.array([[30.0, -40.0]])).tolist() == [[30.0, -40.0]]
    shifted = from_env_action(spaces.Discrete(3, start=-1), np.array([-1, 0, 1], np.int32))
    assert (shifted.tolist(), shifted.dtype) == ([0, 1, 2], np.int64)


BOUND = st.floats(-100, 100, width=32)
PART = st.floats(-1, 1, width=32)


@given(
    bounds=st.lists(st.tuples(BOUND, st.floats(0.125, 100, width=32)), min_size=1, max_size=4),
    rows=st.lists(st.tuples(PART, PART, PART, PART), min_size=1, max_size=5),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_what_an_environment_takes_is_brought_back_to_what_a_policy_said(bounds, rows, dtype):
    low, width = np.array(bounds, dtype).T
    space = spaces.Box(low[None], (low + width)[None], dtype=dtype)
    action = np.array(rows, np.float32)[:, : len(bounds)]
    taken = to_env_action(space, action)
    assert taken.shape == (len(rows), 1, len(bounds))
    found = from_env_action(space, taken)
    assert found.shape == action.shape
    # Taken in single precision, bounds of up to 200 are off by 2e-5, of half-widths of 1 / 16.
    np.testing.assert_allclose(found, action, rtol=0, atol=5e-4)
    np.testing.assert_allclose(to_env_action(space, found), taken, rtol=1e-5, atol=5e-5)


@given(n=st.integers(1, 50), start=st.integers(-100, 100), data=st.data())
def test_discrete_actions_are_brought_back_exactly(n, start, data):
    space = spaces.Discrete(n, start=start)
    action = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1)))
    taken = to_env_action(space, action)
    assert all(space.contains(one) for one in taken)
    assert from_env_action(space, taken).tolist() == action.tolist()


def test_where_an_environment_takes_one_action_alone_a_policys_is_finite():
    low, high = np.array([[-1.0, 2.0], [1.0, 2.0]], np.float32)
    space = spaces.Box(low, high)
    found = from_env_action(space, np.array([[0.5, 2.0]], np.float32))
    assert found[0, 0] == 0.5
    assert -1 <= found[0, 1] <= 1
    assert to_env_action(space, found).tolist() == [[0.5, 2.0]]


def test_discrete_observations_become_one_hot():
    space = spaces.Discrete(3)
    assert flatten_batch(space, np.array([2, 0]), 2).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert flatten_any(space, 1)[0].tolist() == [[0, 1, 0]]


def test_boxes_are_unrolled():
    space = spaces.Box(0, 255, (2, 2), np.uint8)
    picture = np.array([[1, 2], [3, 4]], np.uint8)
    assert flatten_batch(space, picture, None).tolist() == [1, 2, 3, 4]
    assert flatten_batch(space, np.stack([picture, 2 * picture]), 2)[1].tolist() == [2, 4, 6, 8]
    assert flatten_batch(space, picture, None).dtype == np.float32


def test_tuples_and_dictionaries_are_joined():
    pair = spaces.Tuple([spaces.Discrete(2), spaces.Box(0.0, 9.0, (2,))])
    single = (1, np.array([5.0, 6.0], np.float32))
    assert flatten_batch(pair, single, None).tolist() == [0, 1, 5, 6]
    batch = (np.array([1, 0]), np.array([[5.0, 6.0], [7.0, 8.0]], np.float32))
    assert flatten_batch(pair, batch, 2).tolist() == [[0, 1, 5, 6], [1, 0, 7, 8]]
    assert flat_size(pair) == 4


NESTED = {
    "boxes": spaces.Dict(
        {
            "b": spaces.Box(0.0, 1.0, (2, 3), np.float32),
            "a": spaces.Box(0, 255, (4,), np.uint8),
            "c": spaces.Box(-9.0, 9.0, (), np.float64),
        }
    ),
    "kinds": spaces.Dict(
        OrderedDict(
            [
                ("z", spaces.Discrete(3, start=-1)),
                ("m", spaces.MultiDiscrete([2, 4], start=[1, 0])),
                ("b", spaces.Box(-1.0, 1.0, (2,), np.float32)),
                ("n", spaces.MultiBinary((2, 2))),
            ]
        )
    ),
    "nested": spaces.Tuple(
        [
            spaces.Dict({"y": spaces.Discrete(2), "x": spaces.Box(0.0, 5.0, (1, 2))}),
            spaces.Tuple([spaces.Box(-3, 3, (3,), np.int64), spaces.Discrete(4)]),
        ]
    ),
}


@pytest.mark.parametrize("space", NESTED.values(), ids=NESTED)
def test_a_batch_is_flattened_as_gymnasium_flattens_its_items(space):
    batched = batch_space(space, 6)
    batched.seed(3)
    batch = batched.sample()
    expected = [spaces.flatten(space, item) for item in iterate(batched, batch)]
    flat = flatten_batch(space, batch, 6)
    assert flat.dtype == np.float32
    np.testing.assert_array_equal(flat, np.array(expected, np.float32))
    assert flat.shape == (6, flat_size(space))


def test_numbers_of_another_type_are_taken_as_their_space_takes_them():
    space = spaces.Dict({"picture": spaces.Box(0, 255, (2,), np.uint8)})
    batch = {"picture": np.array([[3.7, 200.0]])}
    assert flatten_batch(space, batch, 1).tolist() == [[3, 200]]


def test_flat_observations_are_copies():
    array = np.zeros((2, 3), np.float32)
    flat = flatten_batch(spaces.Box(-1, 1, (3,)), array, 2)
    array[:] = 1
    assert not flat.any()


@pytest.mark.parametrize(
    ("space", "single"),
    [
        (spaces.Box(-1.0, 1.0, (2,)), np.zeros(2)),
        (spaces.Box(-1.0, 1.0, (2,)), np.full(2, 50.0)),
        (spaces.Discrete(5), np.int64(3)),
        (spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,))}), {"a": np.zeros(2)}),
        (spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,))}), {"a": np.full(2, 50.0, np.float32)}),
        (spaces.Tuple([spaces.Box(-1.0, 1.0, (2,))]), (np.full(2, 50.0),)),
    ],
    ids=["box", "box-outside", "discrete", "dict-float64", "dict-outside", "tuple-outside"],
)
def test_one_observation_is_told_from_a_batch_by_its_shape(space, single):
    flat, is_single = flatten_any(space, single)
    assert is_single
    assert flat.shape == (1, flat_size(space))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 2), ()])
def test_boxes_of_another_shape_are_refused(shape):
    with pytest.raises(RobolearnError, match="must have shape"):
        flatten_any(spaces.Box(-1.0, 1.0, (2,)), np.zeros(shape))


SPACES = {
    "box": spaces.Box(np.float32([-1.0, -np.inf]), np.float32([2.5, np.inf])),
    "picture": spaces.Box(0, 255, (2, 3), np.uint8),
    "scalar": spaces.Box(-1.0, 1.0, (), np.float64),
    "discrete": spaces.Discrete(4, start=2),
    "dict": spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Box(0.0, 1.0, (1,))}),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Tuple([spaces.MultiBinary(3)])]),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary([2, 2]),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_spaces_survive_json(space):
    again = space_from_json(json.loads(json.dumps(space_to_json(space))))
    assert again == space
    assert again.dtype == space.dtype


def test_a_bound_that_is_the_same_everywhere_is_one_number():
    space = spaces.Box(0, 255, (64, 64), np.uint8)
    assert (space_to_json(space)["low"], space_to_json(space)["high"]) == (0, 255)
    uneven = spaces.Box(np.float32([0.0, 0.0]), np.float32([1.0, 2.0]))
    assert (space_to_json(uneven)["low"], space_to_json(uneven)["high"]) == (0.0, [1.0, 2.0])


def test_spaces_written_with_every_bound_are_still_read():
    old = {"kind": "Box", "dtype": "float32", "shape": [1, 2], "low": [[0, 0]], "high": [[1, 1]]}
    assert space_from_json(old) == spaces.Box(0.0, 1.0, (1, 2), np.float32)


def test_spaces_without_a_description_are_refused():
    with pytest.raises(RobolearnError, match="Text cannot be saved"):
        space_to_json(spaces.Text(5))
    with pytest.raises(RobolearnError, match="Unknown kind of space 'Txt'"):
        space_from_json({"kind": "Txt"})


BOX = {"kind": "Box", "dtype": "float32", "shape": [2], "low": [0, 0], "high": 1}
MULTI = {"kind": "MultiDiscrete", "nvec": [2, 3], "start": [0, 0]}
NAMED = [["a", BOX], ["a", BOX]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "seen must be a space with its 'kind', got None."),
        ([BOX], "seen must be a space with its 'kind', got [{"),
        ({}, "seen must be a space with its 'kind', got {}."),
        ({"kind": ["Box"]}, "Unknown kind of space ['Box'] at seen."),
        ({"kind": "Box"}, "seen must be a space with its 'dtype', got {'kind': 'Box'}."),
        (BOX | {"dtype": "O"}, "seen.dtype must be one of float16, float32, "),
        (BOX | {"dtype": "f4,f4"}, "seen.dtype must be one of float16, float32, "),
        (BOX | {"shape": 2}, "seen.shape must be a list of at most 16 whole numbers, got 2."),
        (BOX | {"shape": [1.5]}, "seen.shape must be a whole number in [1, 10000000], got 1.5."),
        (BOX | {"shape": [-1]}, "seen.shape must be a whole number in [1, 10000000], got -1."),
        (BOX | {"shape": [True]}, "seen.shape must be a whole number in [1, 10000000], got True."),
        (BOX | {"shape": [1] * 17}, "seen.shape must be a list of at most 16 whole numbers, got "),
        (BOX | {"low": [0]}, "seen.low must be a number or numbers of shape (2,), got [0]."),
        (BOX | {"low": "abc"}, "seen.low must be numbers of float32, got 'abc'."),
        (BOX | {"low": ["0", 0]}, "seen.low must be numbers of float32, got '0'."),
        (BOX | {"low": None}, "seen.low must be numbers of float32, got None."),
        (BOX | {"low": np.nan}, "seen.low must be numbers of float32, got nan."),
        (BOX | {"low": 10**400}, "seen.low must be numbers of float32, got 1000000"),
        (BOX | {"low": [[0], [0]]}, "seen.low must be numbers of float32, got [0]."),
        (BOX | {"low": 2}, "seen.low must lie below seen.high"),
        (BOX | {"low": np.inf, "high": np.inf}, "seen.low must lie below seen.high"),
        (BOX | {"low": -np.inf, "high": -np.inf}, "seen.low must lie below seen.high"),
        (BOX | {"dtype": "uint8", "low": -1}, "seen.low must be numbers of uint8, got -1."),
        (BOX | {"dtype": "uint8", "low": 0.5}, "seen.low must be numbers of uint8, got 0.5."),
        (BOX | {"dtype": "bool"}, "seen.low must be numbers of bool, got 0."),
        ({"kind": "Discrete", "n": 0, "start": 0}, "seen.n must be a whole number in [1, 1000000]"),
        ({"kind": "Discrete", "n": 2}, "seen must be a space with its 'start', got {'kind': "),
        ({"kind": "Discrete", "n": 2, "start": 2**63}, "seen.start must be a whole number in"),
        (MULTI | {"nvec": 5}, "seen.nvec must be a list of whole numbers, got 5."),
        (MULTI | {"nvec": []}, "seen.nvec must be a list of whole numbers, got []."),
        (MULTI | {"nvec": [[1, 2], [3]]}, "seen.nvec must be lists of 2, got [3]."),
        (MULTI | {"nvec": [1, [3]]}, "seen.nvec must be a whole number in [1, 1000000], got [3]."),
        (MULTI | {"start": [0]}, "seen.start must be numbers of shape (2,), got [0]."),
        ({"kind": "MultiBinary", "n": [2, 0]}, "seen.n must be a whole number in [1, 10000000]"),
        ({"kind": "Dict", "spaces": {"a": BOX}}, "seen.spaces must be a list, got {'a'"),
        ({"kind": "Dict", "spaces": [BOX]}, "seen.spaces[0] must be a name and a space, got {"),
        ({"kind": "Dict", "spaces": NAMED}, "seen.spaces[1] must be a name not used yet, got 'a'."),
        ({"kind": "Tuple", "spaces": [BOX, 5]}, "seen.spaces[1] must be a space with its 'kind'"),
    ],
    ids=lambda item: item[:40] if isinstance(item, str) else "",
)
def test_a_malformed_description_is_refused_by_key(data, message):
    with pytest.raises(RobolearnError) as caught:
        space_from_json(data, "seen")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def boxes(*widths):
    """Return a tuple of boxes with equal bounds, described in a few bytes."""
    box = {"kind": "Box", "dtype": "float32", "low": 0, "high": 1}
    return {"kind": "Tuple", "spaces": [box | {"shape": [width]} for width in widths]}


@pytest.mark.parametrize(
    "data",
    [
        boxes(10**9),
        {**boxes(1)["spaces"][0], "shape": [100_000, 100_000]},
        {"kind": "MultiBinary", "n": 10**12},
        {"kind": "MultiBinary", "n": [10**5, 10**5]},
        {"kind": "Discrete", "n": 1_000_001, "start": 0},
        {"kind": "MultiDiscrete", "nvec": [1_000_000] * 11, "start": [0] * 11},
        boxes(*[1_000_000] * 11),
        boxes(*[1] * 1000),
    ],
    ids=["box", "product", "bits", "bits-product", "choices", "sum", "together", "parts"],
)
def test_a_huge_space_is_refused_before_it_is_made(data):
    tracemalloc.start()
    try:
        with pytest.raises(RobolearnError, match=r"too large|must be a whole number in"):
            space_from_json(data)
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


def test_a_space_of_ten_million_numbers_is_made():
    assert flat_size(space_from_json(boxes(5_000_000, 5_000_000))) == 10_000_000


def test_spaces_may_be_sixteen_levels_deep_but_not_seventeen():
    data = {"kind": "Discrete", "n": 2, "start": 0}
    for _ in range(16):
        data = {"kind": "Tuple", "spaces": [data]}
    assert flat_size(space_from_json(data)) == 2
    with pytest.raises(RobolearnError, match="at most 16 levels"):
        space_from_json({"kind": "Tuple", "spaces": [data]})


def test_a_dict_space_keeps_the_order_of_its_keys_and_a_multi_discrete_its_start():
    box = spaces.Box(0.0, 1.0, (1,), np.float32)
    ordered = spaces.Dict(OrderedDict([("b", box), ("a", spaces.Discrete(2))]))
    assert list(space_from_json(space_to_json(ordered))) == list(ordered)
    shifted = spaces.MultiDiscrete([2, 3], start=[5, 6])
    assert space_from_json(json.loads(json.dumps(space_to_json(shifted)))) == shifted


def test_magnitudes_are_the_bounds_of_what_cannot_be_negative():
    low = np.array([0.0, -1.0, 0.0, 0.0], np.float32)
    high = np.array([5.0, 1.0, np.inf, 0.5], np.float32)
    ranges = spaces.Box(low, high)
    assert magnitudes(ranges).tolist() == [5.0, 0.0, 0.0, 0.5]
    joined = spaces.Dict({"b": ranges, "a": spaces.Box(0.0, 3.0, (2,))})
    assert magnitudes(joined).tolist() == [3.0, 3.0, 5.0, 0.0, 0.0, 0.5]
