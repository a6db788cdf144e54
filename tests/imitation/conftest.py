"""What every test of imitation leaves to the next."""

import pytest

from robolearn_envs.maps.dataset import layout_dataset


@pytest.fixture(autouse=True)
def _one_bank_at_a_time():
    """Forget cached layouts of 50 MB after each test; hardly two of them need the same."""
    yield
    layout_dataset.cache_clear()
