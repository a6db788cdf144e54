"""Fixtures of the environment tests."""

from importlib.util import find_spec

import pytest

from robolearn_envs.maps.dataset import SPLIT_SIZES, layout_dataset

if find_spec("torch") is None:  # robolearn_envs alone
    collect_ignore = ["test_arrays.py", "test_closed_form.py"]
    collect_ignore += ["test_first_steps.py"]  # with robolearn
    collect_ignore_glob = ["test_torch_*.py", "test_warp.py"]


@pytest.fixture(scope="module")
def small_datasets(tmp_path_factory):
    """Datasets of 16 layouts, kept out of the user's cache: built in a tenth of a second each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ROBOLEARN_CACHE", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for split in list(SPLIT_SIZES):
            patch.setitem(SPLIT_SIZES, split, 16)
        layout_dataset.cache_clear()
        yield
    layout_dataset.cache_clear()
