"""``robolearn doctor``."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import torch

from robolearn.accelerate import cuda_problem
from robolearn.commands.common import parse, print_json
from robolearn.runs.meta import hardware, versions
from robolearn_envs.engines import DEVICE_ENGINES, ENGINES, installed
from robolearn_envs.rendering import RENDERERS, make_renderer
from robolearn_envs.robots import CartPole

MENDS = {
    "mujoco-egl": "Install libegl1 and libegl-mesa0; software-rays draws meanwhile.",
    "bullet-tiny": "Use Python 3.11 for PyBullet; software-rays draws meanwhile.",
}


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Which engines, renderers and devices work here, and how to mend those that do not."""

    json: bool = False
    """Print one JSON object instead of words."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    name: str
    works: bool
    detail: str
    """What was found, or how to mend it."""


def main(arguments: Sequence[str]) -> int:
    """Try everything and say what works."""
    options = parse(DoctorOptions, arguments, "doctor")
    findings = [*engines(), *renderers(), ffmpeg(), *devices()]
    if options.json:
        print_json({"versions": versions(), "findings": [asdict(f) for f in findings]})
        return 0
    print(hardware())
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    for finding in findings:
        mark = "works " if finding.works else "absent"
        print(f"  {mark}  {finding.name:<24}{finding.detail}")
    return 0


def engines() -> Iterator[Finding]:
    """Step an environment on every engine."""
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
            yield Finding(f"engine {engine}", False, f"pip install 'robolearn[{engine}]'")
            continue
        envs = gym.make_vec("robolearn/CartPoleBalance-v0", 8, engine=engine, device=device)
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())
        envs.close()
        yield Finding(f"engine {engine}", True, f"stepped cart-poles on {device}")


def renderers() -> Iterator[Finding]:
    """Draw a picture with every renderer."""
    for name, description in RENDERERS.items():
        try:
            renderer = make_renderer("mujoco", 64, 48, prefer=name)
        except ValueError as problem:
            yield Finding(f"renderer {name}", False, f"{problem} {MENDS.get(name, '')}".strip())
            continue
        renderer.render(CartPole(), np.zeros(2))
        renderer.close()
        yield Finding(f"renderer {name}", True, description)


def ffmpeg() -> Finding:
    """Look for ffmpeg."""
    try:
        return Finding("ffmpeg", True, f"version {imageio_ffmpeg.get_ffmpeg_version()}")
    except RuntimeError as problem:
        return Finding("ffmpeg", False, f"{problem} Mend it with: pip install imageio-ffmpeg")


def devices() -> Iterator[Finding]:
    """Look for devices to learn on."""
    yield Finding("device cpu", True, f"{os.cpu_count()} cores")
    problem = cuda_problem()
    if problem is None:
        yield Finding("device cuda", True, torch.cuda.get_device_name())
    else:
        mend = "the CPU is the faster one for small networks on few environments"
        yield Finding("device cuda", False, f"{problem}; {mend}")
