"""Fixtures of the environment tests."""

import pytest

from robolearn_envs.arenas.bank import SIZES, bank


@pytest.fixture(scope="module")
def small_banks(tmp_path_factory):
    """Banks of 16 layouts, kept out of the user's cache: built in a tenth of a second each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for split in list(SIZES):
            patch.setitem(SIZES, split, 16)
        bank.cache_clear()
        yield
    bank.cache_clear()
