"""A Bullet world lives no longer than the environment that is simulated in it."""

import gc
import os
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from robolearn_envs.engines import bullet_world
from robolearn_envs.engines.base import SimulationError
from robolearn_envs.engines.bullet import BulletEngine
from robolearn_envs.engines.bullet_world import MAX_CLIENTS, BulletClients, pybullet
from robolearn_envs.robots import CartPole


def connected():
    """Return the ids of all connected clients of this process."""
    return {client for client in range(MAX_CLIENTS) if pybullet.isConnected(client)}


def resident_memory():
    """Return this process's resident memory in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_a_dropped_environment_disconnects_its_clients():
    gc.collect()
    before = connected()
    envs = gym.make_vec("robolearn/NavLidar-v0", 3, engine="bullet", level=0)
    envs.reset(seed=0)
    assert len(connected() - before) == 3
    del envs
    gc.collect()
    assert connected() == before


@pytest.mark.parametrize("options", [{}, {"render_mode": "rgb_array"}], ids=["unseen", "drawn"])
def test_a_dropped_environment_ends_without_the_garbage_collector(options):
    gc.collect()
    before = connected()
    gc.disable()
    try:
        envs = gym.make_vec("robolearn/NavLidar-v0", 2, engine="bullet", level=0, **options)
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())
        del envs
        assert connected() == before
    finally:
        gc.enable()


def test_closing_twice_leaves_the_clients_of_a_later_engine_alone():
    first = BulletEngine(CartPole(), 2, 0.01)
    first.close()
    second = BulletEngine(CartPole(), 2, 0.01)  # is given the same ids
    first.close()
    second.step(np.ones((2, 1)))
    assert (second.qvel[:, 0] > 0).all()
    second.close()


def test_a_world_that_was_replaced_after_a_breakdown_is_disconnected_too():
    gc.collect()
    before = connected()
    engine = BulletEngine(CartPole(), 1, 0.01)
    for _ in range(3):
        engine.reset(np.array([0]), np.full((1, 2), np.nan), np.zeros((1, 2)), None)
        engine.step(np.zeros((1, 1)))
        assert engine.diverged.all()
    assert len(connected() - before) == 1
    del engine
    gc.collect()
    assert connected() == before


def test_too_many_worlds_are_refused_with_the_number_that_is_open(monkeypatch):
    gc.collect()
    owner = type("Owner", (), {})()
    already = len(bullet_world._open_clients)
    monkeypatch.setattr(bullet_world, "MAX_CLIENTS", already + 3)  # 1024 would take 25 GB
    clients = BulletClients(owner, 2)
    with pytest.raises(SimulationError, match=f"{already + 2} are open, got 2 more. Close unused"):
        BulletEngine(CartPole(), 2, 0.01)
    clients.close()
    BulletEngine(CartPole(), 2, 0.01).close()


def test_environments_in_reference_cycles_do_not_count_against_the_limit(monkeypatch):
    gc.collect()
    already = len(bullet_world._open_clients)
    monkeypatch.setattr(bullet_world, "MAX_CLIENTS", already + 2)
    cycle = [BulletEngine(CartPole(), 2, 0.01)]
    cycle.append(cycle)
    del cycle
    BulletEngine(CartPole(), 2, 0.01).close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to read memory from")
def test_a_thousand_environments_one_after_the_other_leave_memory_and_files_as_they_were():
    def make_and_drop(count):
        for _ in range(count):
            env = gym.make("robolearn/CartPoleBalance-v0", engine="bullet")
            env.reset(seed=0)
            env.step(env.action_space.sample())
        del env
        gc.collect()
        return resident_memory(), open_files()

    memory, files = make_and_drop(20)  # what is loaded once
    later_memory, later_files = make_and_drop(1000)
    assert later_files == files
    assert later_memory <= 1.05 * memory
