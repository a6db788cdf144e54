"""What the environments' closed forms and the agents need is torch, NumPy and Gymnasium, no more.

So they run wherever torch does, as on a rented GPU. Each test starts an interpreter of which the
only packages are those three, what those need, and ours.
"""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NEEDED = ("torch", "numpy", "gymnasium")
ABSENT = ("mujoco", "scipy", "yaml", "safetensors", "PIL")
"""Some of the others."""
MODULES = (
    "robolearn_envs",
    "robolearn_envs.tasks",
    "robolearn_envs.sensors",
    "robolearn_envs.vector",
    "robolearn_envs.engines.analytic",
    "robolearn",
    "robolearn.agents.ppo",
    "robolearn.agents.pqn",
    "robolearn.agents.dqn",
    "robolearn.environments",
    "robolearn.collect",
    "robolearn.evaluation",
    "robolearn.accelerate",
)
PACKAGES = (
    "envs/robolearn_envs/core",
    "envs/robolearn_envs/maps",
    "envs/robolearn_envs/robots",
    "envs/robolearn_envs/sensors",
    "robolearn/buffers",
    "robolearn/networks",
)
"""Folders of which every module counts."""


def closure(names):
    """Return the installed distributions of these names and of all they need, without extras."""
    found, left = {}, list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found[name] = metadata.distribution(name)
            needs = [Requirement(line) for line in found[name].requires or ()]
            left += [n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found.values()


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder of links to all that the needed distributions consist of."""
    folder = tmp_path_factory.mktemp("packages")
    for distribution in closure(NEEDED):
        for top in {path.parts[0] for path in distribution.files} - {"..", "__pycache__"}:
            link = folder / top  # several distributions may share a namespace
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))
    return folder


@pytest.fixture
def lean(packages, tmp_path):
    """Run code with those packages and ours alone, and return what it printed."""
    path = os.pathsep.join(map(str, (packages, ROOT, ROOT / "envs")))

    def run(code):
        done = subprocess.run(
            [sys.executable, "-S", "-c", code],  # -S: without site-packages
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def modules_of(folder):
    parts = folder.removeprefix("envs/").split("/")
    names = [path.stem for path in sorted((ROOT / folder).glob("*.py"))]
    return [".".join(parts if name == "__init__" else [*parts, name]) for name in names]


def test_nothing_else_is_there(lean):
    # Of the first three a specification is found, of the others none.
    code = f"""
from importlib.util import find_spec
print([name for name in {[*NEEDED, *ABSENT]} if find_spec(name)])
"""
    assert lean(code).strip() == str(list(NEEDED))


@pytest.mark.slow
def test_all_that_the_closed_form_and_agents_consist_of_can_be_imported(lean):
    names = [*MODULES, *(name for folder in PACKAGES for name in modules_of(folder))]
    assert {
        "robolearn_envs.maps.grid",
        "robolearn.buffers",
        "robolearn.networks.actor_critic",
    } <= set(names)
    lean("\n".join(f"import {name}" for name in names))


def test_a_batch_of_cart_poles_steps(lean):
    code = """
import gymnasium as gym, robolearn_envs
envs = gym.make_vec("robolearn/CartPoleSwingUp-v0", num_envs=3, engine="analytic")
envs.reset(seed=0)
observation, *_ = envs.step(envs.action_space.sample())
print(observation.shape)
"""
    assert lean(code).strip() == "(3, 5)"  # x, cos θ, sin θ, ẋ, θ̇


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PPO", "DQN", "PQN"])
def test_an_agent_learns_and_is_evaluated(lean, name):
    # 2100 steps are 2 rounds of the usual PPO (32 environments x 64 steps) and more of the others.
    code = f"""
import math
from robolearn import {name}, evaluate
agent = {name}("robolearn/CartPoleBalance-v0", engine="analytic", seed=0)
rounds = list(agent.iterate(2_100))
assert len(rounds) >= 2 and agent.steps >= 2_100, (len(rounds), agent.steps)
agent.close()
result = evaluate(agent, "robolearn/CartPoleBalance-v0", engine="analytic", episodes=3)
print(len(result.returns), all(map(math.isfinite, result.returns)))
"""
    assert lean(code).strip() == "3 True"


@pytest.mark.slow
def test_the_benchmarks_of_a_gpu_run(lean):
    arguments = ["--device", "cpu", "--quick", "--only", "physics", "poles", "warp"]
    told = lean(
        f"import runpy, sys; sys.argv[1:] = {arguments}\n"
        "runpy.run_module('benchmarks.gpu', run_name='__main__')"
    )
    assert (
        "| physics | robolearn/CartPoleBalance-v0: cpu against CPU, 20 steps | 0 | <= 1e-6 |"
        in told
    )
    assert "CartPoleSwingUp-v0, solved at 0.95 | 0 of 1 seeds" in told
    assert "skipped: needs mujoco, mujoco_warp" in told
