"""Fixtures of the tests of learning on a device."""

import pytest
from tasks_by_name import TASKS, shorten

from robolearn.accelerate import one_thread
from robolearn_envs.maps.dataset import SPLIT_SIZES, layout_dataset

SHORT = 24
"""Steps of an episode where episodes are short."""


@pytest.fixture(scope="module", autouse=True)
def small_banks(tmp_path_factory):
    """Banks of 16 layouts, kept out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ROBOLEARN_CACHE", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for split in list(SPLIT_SIZES):
            patch.setitem(SPLIT_SIZES, split, 16)
        layout_dataset.cache_clear()
        yield
    layout_dataset.cache_clear()


@pytest.fixture(autouse=True)
def single_thread():
    """As agents compute."""
    with one_thread():
        yield


@pytest.fixture
def short_episodes(monkeypatch):
    """Episodes of 24 steps, of which a cart-pole must hold on for 12 to succeed."""
    for name in TASKS:
        shorten(name, SHORT, monkeypatch.setattr)
    for name in ("CartPoleBalance-v0", "CartPoleSwingUp-v0"):
        monkeypatch.setattr(TASKS[name], "success_steps", SHORT // 2)
