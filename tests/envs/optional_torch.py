"""torch where it is installed: the environments need none, and are tested without it, too."""

import pytest

try:
    import torch

    from robolearn_envs import torch_arrays
except ModuleNotFoundError:
    torch = torch_arrays = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")
