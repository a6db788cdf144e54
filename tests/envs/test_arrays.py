"""Which library's functions compute: that of the arrays given."""

import numpy as np
import pytest
import torch

from robolearn_envs import torch_arrays
from robolearn_envs.arrays import namespace


def test_numpy_arrays_are_computed_with_by_numpy_itself():
    assert namespace(np.zeros(3)) is np
    assert namespace(np.zeros((2, 2), dtype=bool)) is np


def test_tensors_are_computed_with_by_torch_as_the_standard_has_it():
    assert namespace(torch.zeros(3)) is torch_arrays


TABLE = np.random.default_rng(0).normal(size=(4, 3))
CALLS = {
    "clip": ((TABLE, None, 0.5), {}),
    "concat": (([TABLE, TABLE],), {"axis": -1}),
    "flip": ((TABLE,), {"axis": -1}),
    "max": ((TABLE,), {"axis": -1}),
    "min": ((TABLE,), {"axis": 0}),
    "reshape": ((TABLE, (2, -1)), {}),
    "stack": (([TABLE, TABLE],), {"axis": -1}),
    "sum": ((TABLE,), {"axis": -1}),
    "broadcast_to": ((TABLE[:1], (4, 3)), {}),
    "where": ((TABLE > 0, TABLE, 0.0), {}),
    "maximum": ((TABLE, 0.25), {}),
    "minimum": ((TABLE, -TABLE), {}),
}


def on_torch(value):
    if isinstance(value, list):
        return [on_torch(each) for each in value]
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", CALLS)
def test_what_is_called_by_keyword_is_what_numpy_has_by_that_name(name):
    positional, named = CALLS[name]
    expected = getattr(np, name)(*positional, **named)
    got = getattr(torch_arrays, name)(*(on_torch(value) for value in positional), **named)
    np.testing.assert_array_equal(got.numpy(), expected)


def test_other_types_are_those_of_numpy():
    whole = torch_arrays.astype(torch.tensor([1.7, -1.7]), torch_arrays.int64)
    np.testing.assert_array_equal(whole.numpy(), np.array([1.7, -1.7]).astype(np.int64))
