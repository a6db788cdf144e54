"""``robolearn demos record --human --env ENV --out demos/NAME``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import EnvOptions
from robolearn.commands.filming import frame_size, refusals
from robolearn.imitation.demos.human import simulation
from robolearn.imitation.demos.human_set import HumanSet, demonstrate
from robolearn.imitation.demos.human_window import HumanWindow
from robolearn.imitation.demos.record import RecordConfig
from robolearn.video.schedule import realtime_fps


@dataclass(frozen=True, kw_only=True)
class HumanOptions:
    """Demonstrate yourself, at the keyboard: arrows steer, the window tells the other keys."""

    where: Annotated[EnvOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=EnvOptions)
    out: Path
    """Folder of the set, e.g. demos/mine-v0; -v0 is added to names without a version."""
    episodes: int = 10
    """Episodes the set is to have."""
    seed: int = 0
    """Episode k begins with the environment's seed 10000 * seed + k."""
    resume: bool = False
    """Go on with a set that is there already."""
    size: str | None = None
    """Width and height of the window in pixels, e.g. 960x720."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Demonstrate."""
    options = parse(HumanOptions, arguments, "demos record --human")
    config = RecordConfig(
        env=options.where.config(),
        expert="human",
        out=options.out,
        episodes=options.episodes,
        seed=options.seed,
        resume=options.resume,
    )
    picture = {} if options.size is None or not config.env.native else frame_size(options.size)
    env = config.env.make(render_mode="rgb_array", **picture)
    try:
        with refusals():
            shelf = HumanSet(config, env)
        env.reset(seed=0)
        height, width, _ = np.asarray(env.render()).shape
        left = simulation(env).caption_x
        window = HumanWindow(width, height, fps=realtime_fps(env), left=left)
        try:
            session = demonstrate(env, window, shelf)
        finally:
            window.close()
    finally:
        env.close()
    card = session.card
    if options.json:
        mean = None if card is None else card.mean_return
        total = 0 if card is None else card.episodes
        folder = str(shelf.folder)
        print_json({"demos": folder, "kept": session.kept, "episodes": total, "mean_return": mean})
    elif card is None:
        print("Nothing was kept, so nothing was written.")
    else:
        print(
            f"{shelf.folder}: {session.kept} episodes kept, {card.episodes} of {card.asked} there, "
            f"return {card.returns()}."
        )
    return 0
