"""Record the sets in ``demos/`` anew: three problems, each shown by an expert, noisily, and poorly.

    python -m benchmarks.demos

Poor ones are of agents that have hardly learned; they are trained first, into ``runs/poor-*``.
Takes about two minutes. What is there is left alone: delete what is to be made anew.
"""

from pathlib import Path
from typing import NamedTuple

from robolearn.cli import main as robolearn

DEMOS = Path("demos")


class Problem(NamedTuple):
    """What is shown, by whom, and how."""

    name: str
    where: str
    """Options that say which environment."""
    expert: str
    noise: float
    """Of the noisy tier."""
    agent: str
    """What learns too little, and its options."""
    episodes: tuple[int, int, int]
    """Of the tiers: expert, noisy, poor."""


PROBLEMS = (
    Problem(
        name="balance",
        where="--env robolearn/CartPoleBalance-v0",
        expert="lqr",
        noise=0.2,
        agent="dqn --steps 4000",
        episodes=(5, 5, 10),
    ),
    Problem(
        name="swingup",
        where="--env robolearn/CartPoleSwingUp-v0 --num-discrete-actions 2",
        expert="swingup",
        noise=0.1,
        agent="dqn --steps 90000 --n-step 10 --no-layer-norm --first-layer-gain 8",
        episodes=(10, 10, 10),
    ),
    Problem(
        name="navigation",
        where="--env robolearn/NavLidar-v0 --level 1",
        expert="planner",
        noise=0.3,
        agent="ppo --steps 60000",
        episodes=(30, 30, 10),
    ),
)


def run(command: str) -> None:
    """Run one of our commands, as one would type it after ``robolearn``."""
    print(f"robolearn {command}", flush=True)
    code = robolearn(command.split())
    if code:
        raise SystemExit(code)


def main() -> None:
    for problem in PROBLEMS:
        learned = Path("runs") / f"poor-{problem.name}"
        tiers = (
            ("expert", problem.expert, 0.0),
            ("noisy", problem.expert, problem.noise),
            ("poor", str(learned), 0.0),
        )
        for (tier, expert, noise), episodes in zip(tiers, problem.episodes, strict=True):
            out = DEMOS / f"{problem.name}-{tier}-v0"
            if out.exists():
                continue
            if tier == "poor" and not learned.exists():
                run(f"train {problem.agent} {problem.where} --engine analytic --run {learned}")
            how = f"--expert {expert} --noise {noise} --episodes {episodes}"
            run(f"demos record {problem.where} --engine mujoco {how} --out {out}")


if __name__ == "__main__":
    main()
