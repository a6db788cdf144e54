"""``robolearn doctor``."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import torch

from robolearn.accelerate import cuda_problem
from robolearn.commands.common import parse, print_json
from robolearn.extras import EXTRAS, install_command
from robolearn.runs.meta import hardware, versions
from robolearn_envs.engines import DEVICE_ENGINES, ENGINES, install_hint, installed
from robolearn_envs.rendering import RENDERERS, make_renderer
from robolearn_envs.robots import CartPole

OLDEST, NEWEST = (3, 11), (3, 14)
"""Versions of Python that are supported, both included; as in ``pyproject.toml``."""
BULLETS = ("pybullet", "pybullet-arm64")
"""Distributions of the module pybullet; the second has wheels for Python 3.12 and 3.13."""
PYGAMES = ("pygame", "pygame-ce")
"""Distributions of the module pygame."""
MUJOCOS = ("mujoco", "mujoco-core", "mujoco-studio")
"""Distributions that MuJoCo 4 consists of; MuJoCo 3 is the first alone, with the files of all."""
_GL_PROBE = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100)
"""
_PROBE_TIMEOUT = 30.0  # s

ADVICE = {
    "mujoco-egl": "Install libegl1 and libegl-mesa0; software-rays is used without it.",
}


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Check which engines, renderers and devices work here, and say how to repair the others."""

    json: bool = False
    """Print one JSON object instead of words."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    works: bool
    detail: str
    """What was found, or how to repair it."""


def main(arguments: Sequence[str]) -> int:
    """Check everything and print what works."""
    options = parse(DoctorOptions, arguments, "doctor")
    findings = [interpreter(), *packages(), *opengl_platform()]
    os.environ.pop("MUJOCO_GL", None)  # a platform that does not work would fail all that follows
    findings += [*engines(), *renderers(), ffmpeg(), *devices()]
    if options.json:
        print_json({"versions": versions(), "findings": [asdict(f) for f in findings]})
        return 0
    print(hardware())
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    for finding in findings:
        mark = "works" if finding.works else "no"
        print(f"  {mark:<7}{finding.name:<24}{finding.detail}")
    return 0


def interpreter() -> Finding:
    """Check the version of Python."""
    supported = OLDEST <= sys.version_info[:2] <= NEWEST
    detail = f"{sys.version.split()[0]} at {sys.executable}"
    if not supported:
        detail += f"; supported are 3.{OLDEST[1]} to 3.{NEWEST[1]}"
    return Finding("python", supported, detail)


def packages() -> Iterator[Finding]:
    """Check the installations of Bullet, MuJoCo and pygame, and the extras."""
    yield bullet()
    yield mujoco_files()
    if len(pygames := _installed(PYGAMES)) > 1:
        yield _both("pygame", pygames, "pygame-ce")
    for extra, modules in EXTRAS.items():
        complete = all(importlib.util.find_spec(module) for module in modules)
        detail = ", ".join(modules) if complete else f"Install it with: {install_command(extra)}"
        yield Finding(f"extra {extra}", complete, detail)


def bullet() -> Finding:
    """Check which distribution of PyBullet is installed, and whether it was built with NumPy."""
    found = _installed(BULLETS)
    if len(found) > 1:
        return _both("pybullet", found, BULLETS[sys.version_info >= (3, 12)])
    if not installed("bullet"):
        return Finding("pybullet", False, install_hint("bullet"))
    from robolearn_envs.engines.bullet_world import pybullet

    numpy = "with NumPy" if pybullet.isNumpyEnabled() else "without NumPy: depth images are slower"
    name = "".join(f"{name} {version}, " for name, version in found.items())
    return Finding("pybullet", True, name + numpy)


def _both(module: str, found: dict[str, str], keep: str) -> Finding:
    """Return the finding that two distributions of one module overwrite each other's files."""
    remove = f"pip uninstall --yes {' '.join(found)}"
    detail = (
        f"{' and '.join(found)} are both installed and overwrite each other. "
        f"Repair it with: {remove} && pip install {keep}"
    )
    return Finding(module, False, detail)


def mujoco_files() -> Finding:
    """Check that no file of MuJoCo is missing.

    MuJoCo 4 moved its files to mujoco-core. `pip install --upgrade mujoco` over version 3 installs
    those first, and then deletes the files of the same names that belonged to version 3.
    """
    found = _installed(MUJOCOS)
    missing = [
        str(file)
        for name in found
        for file in importlib.metadata.files(name) or ()
        if "__pycache__" not in file.parts and not Path(file.locate()).exists()
    ]
    if missing:
        repair = f"pip install --force-reinstall --no-deps {' '.join(found)}"
        detail = f"{len(missing)} files are missing, such as {missing[0]}. Repair it with: {repair}"
        return Finding("mujoco", False, detail)
    return Finding(
        "mujoco", True, ", ".join(f"{name} {version}" for name, version in found.items())
    )


def _installed(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def opengl_platform() -> Iterator[Finding]:
    """Check in another process that the OpenGL platform that ``MUJOCO_GL`` asks for works."""
    asked = os.environ.get("MUJOCO_GL")
    if not asked:
        return
    name = f"MUJOCO_GL={asked}"
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", _GL_PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding(name, False, f"no answer within {_PROBE_TIMEOUT:.0f} s. Unset MUJOCO_GL.")
        return
    if probe.returncode == 0:
        yield Finding(name, True, "opened an OpenGL context")
        return
    last = probe.stderr.strip().splitlines()[-1:] or [f"exit status {probe.returncode}"]
    yield Finding(name, False, f"{last[0]}. Unset MUJOCO_GL, or set it to egl.")


def engines() -> Iterator[Finding]:
    """Step an environment with every engine."""
    for engine in ENGINES:
        try:
            env = gym.make("robolearn/CartPoleBalance-v0", engine=engine)
        except ImportError as problem:
            yield Finding(f"engine {engine}", False, str(problem))
            continue
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()
        yield Finding(f"engine {engine}", True, "stepped a cart-pole")
    device = "cpu" if cuda_problem() else "cuda"
    for engine in DEVICE_ENGINES:
        if not installed(engine):
            yield Finding(f"engine {engine}", False, install_hint(engine))
            continue
        envs = gym.make_vec("robolearn/CartPoleBalance-v0", 8, engine=engine, device=device)
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())
        envs.close()
        yield Finding(f"engine {engine}", True, f"stepped cart-poles on {device}")


def renderers() -> Iterator[Finding]:
    """Render a picture with every renderer."""
    for name, description in RENDERERS.items():
        try:
            renderer = make_renderer(64, 48, prefer=name)
        except ValueError as problem:
            yield Finding(f"renderer {name}", False, f"{problem} {ADVICE.get(name, '')}".strip())
            continue
        renderer.render(CartPole(), np.zeros(2))
        renderer.close()
        yield Finding(f"renderer {name}", True, description)


def ffmpeg() -> Finding:
    """Check that ffmpeg is found."""
    try:
        return Finding("ffmpeg", True, f"version {imageio_ffmpeg.get_ffmpeg_version()}")
    except RuntimeError as problem:
        return Finding("ffmpeg", False, f"{problem} Repair it with: pip install imageio-ffmpeg")


def devices() -> Iterator[Finding]:
    """List the devices to train on."""
    yield Finding("device cpu", True, f"{os.cpu_count()} cores")
    problem = cuda_problem()
    if problem is None:
        yield Finding("device cuda", True, torch.cuda.get_device_name())
    else:
        mend = "the CPU is the faster one for small networks on few environments"
        yield Finding("device cuda", False, f"{problem}; {mend}")
