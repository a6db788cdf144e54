"""Fixtures of the environment tests."""

from importlib.util import find_spec

import pytest

from robolearn_envs.arenas.bank import SIZES, bank

if find_spec("torch") is None:  # robolearn_envs alone
    collect_ignore = ["test_arrays.py", "test_closed_form.py"]
    collect_ignore += ["test_bullet_damping.py", "test_first_steps.py"]  # with robolearn
    collect_ignore_glob = ["test_torch_*.py", "test_warp.py"]


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
