"""Films of a comparison, drawn from the rollouts its cells left."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from robolearn.compare.contestants import BATCH, SB3
from robolearn.compare.training import rollout_path
from robolearn.video.recording import STAGES
from robolearn.video.render import render_video
from robolearn.video.rollout import Rollout

PANE = (384, 288)
"""Width and height of a pane of a cart-pole in pixels."""
_STRIDE = 2  # steps per frame
_MOST = 3  # panes in a row
_SEEDS = 9  # that are shown at once


class Clip(NamedTuple):
    """A video and what it shows."""

    path: Path
    caption: str


def film_comparison(
    out: Path, agents: Sequence[str], seeds: int, comment: str, others: Sequence[Rollout] = ()
) -> list[Clip]:
    """Write videos of a comparison: all side by side, one learning, and one with every seed.

    Args:
        out: Folder of the comparison; videos in its folder ``videos`` are replaced.
        agents: Who was compared.
        seeds: Trainings of each.
        comment: Stored in the videos.
        others: Who else is shown side by side, such as an expert.

    Returns:
        Those that could be made of the rollouts there are.
    """
    twins = {f"{name}{BATCH}" for name in agents}
    alone = [name for name in agents if name not in twins]
    ends = [(name, rollout_path(out, name, 0, 1.0)) for name in alone]
    panes = [replace(Rollout.load(path), title=name) for name, path in ends if path.is_file()]
    star = next((name for name in alone if name not in SB3), alone[0])
    paths = [rollout_path(out, star, 0, stage) for stage in STAGES]
    stages = [Rollout.load(path) for path in paths if path.is_file()]
    paths = [rollout_path(out, star, seed, 1.0) for seed in range(min(seeds, _SEEDS))]
    grid = [
        replace(Rollout.load(path), title=f"{star}, seed {seed}")
        for seed, path in enumerate(paths)
        if path.is_file()
    ]
    names = ", ".join(pane.title for pane in [*panes, *others])
    wanted = [
        ("side-by-side", [*panes, *others], f"From the same initial state: {names}; seed 0."),
        ("progress", stages, f"{star} on its way, from the same initial state; seed 0."),
        ("seeds", grid if len(grid) > 1 else [], f"{star} with {len(grid)} seeds."),
    ]
    clips = []
    for name, rollouts, caption in wanted:
        if rollouts:
            path = out / "videos" / f"{name}.mp4"
            columns = 2 if len(rollouts) in (2, 4) else min(len(rollouts), _MOST)
            render_video(
                rollouts,
                path,
                grid_columns=columns,
                stride=_STRIDE,
                size=PANE if "CartPole" in rollouts[0].env.id else None,
                comment=comment,
                overwrite=True,
            )
            clips.append(Clip(path, caption))
    return clips
