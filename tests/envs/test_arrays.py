"""Which library's functions compute: that of the arrays given."""

import array_api_compat
import numpy as np
import torch

from robolearn_envs.arrays import namespace


def test_numpy_arrays_are_computed_with_by_numpy_itself():
    assert namespace(np.zeros(3)) is np
    assert namespace(np.zeros(3, dtype=np.float32), np.zeros((2, 2), dtype=bool)) is np


def test_tensors_are_computed_with_by_torch_as_the_standard_has_it():
    compatible = array_api_compat.array_namespace(torch.zeros(1))
    assert compatible is not torch
    assert namespace(torch.zeros(3), torch.zeros(2)) is compatible
