"""Makes the pictures and videos of the README: trains, films, and cuts a strip of stills.

    python -m benchmarks.gallery

Needs some ten minutes; files in ``videos/`` are replaced. ``--only navigation`` or
``--only cart-poles`` makes half of them.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import tyro
from PIL import Image

from benchmarks.results import made_by
from robolearn.agents.dqn import DQN
from robolearn.agents.ppo import PPO
from robolearn.environments import HELD_OUT, EnvConfig
from robolearn.runs.meta import comment
from robolearn.video.film import film
from robolearn.video.play import play

LIDAR, DEPTH = "robolearn/NavLidar-v0", "robolearn/NavDepth-v0"
VIDEOS = Path(__file__).parents[1] / "videos"
STILLS = (0, 40, 80, 110, 400)
"""Steps of the swing-up that the strip shows."""
CROP = (slice(60, 420), slice(70, 570))
"""Part of a frame that the swing-up's strip shows."""
UNDER_WAY = 25
"""Step of a navigation episode that its still shows."""


def show(agent: PPO | DQN, env: EnvConfig, name: str, episodes: int = 1) -> None:
    """Film greedy episodes on layouts held out."""
    where = env.held_out("test")
    rollouts = [play(agent, where, label=name, seed=HELD_OUT + k) for k in range(episodes)]
    film(rollouts, VIDEOS / name, sequence=True, comment=comment(), overwrite=True)


def still(agent: PPO, env: EnvConfig, step: int) -> np.ndarray:
    """Return the frame after some steps of one greedy episode. Shape (height, width, 3)."""
    rollout = play(agent, env.held_out("test"), label="still", seed=HELD_OUT)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "still.png"
        film([rollout], path, at=min(step, len(rollout)), overlay=False)
        return np.asarray(Image.open(path))


def save(picture: np.ndarray, name: str, shrink: int = 1) -> None:
    """Save a picture, ``shrink`` times smaller along either side."""
    Image.fromarray(picture).reduce(shrink).save(VIDEOS / name, optimize=True)


def cart_poles() -> None:
    """Make what shows cart-poles."""
    swing_up = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")
    ppo = PPO(swing_up, seed=0).learn(1_000_000)
    show(ppo, swing_up, "swingup-mujoco.mp4")
    show(ppo, EnvConfig(id=swing_up.id, engine="bullet"), "swingup-bullet.mp4")
    strip = [still(ppo, swing_up, step)[CROP] for step in STILLS]
    save(np.concatenate(strip, axis=1), "swingup.png", shrink=2)
    balance = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="mujoco")
    show(DQN(balance, seed=0).learn(60_000), balance, "balance-dqn.mp4")


def navigation() -> None:
    """Make what shows navigation."""
    moving = EnvConfig(id=LIDAR, engine="analytic", kwargs={"level": 3})
    ppo = PPO(moving, seed=0).learn(1_500_000)
    show(ppo, replace(moving, engine="bullet"), "navigation-moving.mp4", episodes=3)
    save(still(ppo, replace(moving, engine="mujoco"), UNDER_WAY), "navigation.png")
    walls = EnvConfig(id=LIDAR, engine="analytic", kwargs={"level": 4})
    show(PPO(walls, seed=0).learn(2_000_000), walls, "navigation-walls.mp4", episodes=3)
    depth = EnvConfig(id=DEPTH, engine="analytic", kwargs={"level": 1})
    ppo = PPO(depth, seed=0).learn(300_000)
    show(ppo, replace(depth, engine="mujoco"), "navigation-depth.mp4", episodes=2)


PARTS = {"cart-poles": cart_poles, "navigation": navigation}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make pictures and videos."""

    only: Literal["", "cart-poles", "navigation"] = ""
    """Make only this part."""


def main(options: Options) -> None:
    """Make everything that is asked for."""
    for name, make in PARTS.items():
        if options.only in ("", name):
            make()
    print(f"Written to {VIDEOS}. {made_by()}")


if __name__ == "__main__":
    main(tyro.cli(Options))
