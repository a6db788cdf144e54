"""Makes the pictures and videos of the README: trains, films, and cuts a strip of stills.

    python -m benchmarks.gallery

Needs some two minutes; files in ``videos/`` are replaced.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.results import made_by
from robolearn.agents.base import greedy
from robolearn.agents.dqn import DQN
from robolearn.agents.ppo import PPO
from robolearn.environments import HELD_OUT, EnvConfig
from robolearn.runs.meta import comment
from robolearn.video.rollout import record

VIDEOS = Path(__file__).parents[1] / "videos"
SIZE = {"width": 640, "height": 480}
STILLS = (0, 40, 80, 110, 400)
"""Steps of the swing-up that the strip shows."""


def film(agent: PPO | DQN, env: EnvConfig, name: str) -> None:
    """Film one greedy episode."""
    single = env.make(render_mode="rgb_array", **SIZE)
    record(
        greedy(agent),
        single,
        VIDEOS / name,
        seed=HELD_OUT,
        comment=comment(),
        overwrite=True,
    )
    single.close()


def strip(agent: PPO, env: EnvConfig, name: str) -> None:
    """Save stills of one greedy episode next to each other."""
    single = env.make(render_mode="rgb_array", **SIZE)
    observation, _ = single.reset(seed=HELD_OUT)
    policy, stills = greedy(agent), []
    for step in range(max(STILLS) + 1):
        if step in STILLS:
            stills.append(np.asarray(single.render())[60:420, 70:570])
        observation, *_ = single.step(policy(observation, step == 0))
    single.close()
    Image.fromarray(np.concatenate(stills, axis=1)).reduce(2).save(VIDEOS / name, optimize=True)


def main() -> None:
    """Make everything."""
    swing_up = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")
    ppo = PPO(swing_up, seed=0).learn(1_000_000)
    film(ppo, swing_up, "swingup-mujoco.mp4")
    film(ppo, EnvConfig(id=swing_up.id, engine="bullet"), "swingup-bullet.mp4")
    strip(ppo, swing_up, "swingup.png")
    balance = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="mujoco")
    film(DQN(balance, seed=0).learn(60_000), balance, "balance-dqn.mp4")
    print(f"Written to {VIDEOS}. {made_by()}")


if __name__ == "__main__":
    main()
