"""How our PPO does on other physics than it was trained on: three tasks, three engines.

    python -m benchmarks.transfer --out benchmarks/results/transfer

Some 30 minutes of one core. Runs are kept in
``runs/transfer``: what is there is not trained again, and what was stopped goes on where it was.
The matrix of one task is then also had with ``robolearn transfer runs/transfer/swingup-*``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.results import keep_results, write_results
from robolearn.agents import agent_class
from robolearn.agents.defaults import tuned
from robolearn.compare.transfer import Matrix, Transfer, TransferConfig
from robolearn.compare.transfer_report import as_json, markdown
from robolearn.environments import EnvConfig
from robolearn.session import TrainConfig
from robolearn.train import resume, train

AGENT = "ppo"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A task, and where it is learned."""

    name: str
    env: str
    kwargs: dict[str, Any]
    """Keyword arguments of the environment."""
    steps: int
    trained_on: tuple[str, ...]
    seeds: int = 3
    """Trainings on each engine, with seeds 0, 1, ..."""


SUBJECTS = (
    Subject(
        name="swingup",
        env="robolearn/CartPoleSwingUp-v0",
        kwargs={},
        steps=1_000_000,
        trained_on=("mujoco", "bullet", "analytic"),
    ),
    Subject(
        name="lidar",
        env="robolearn/NavLidar-v0",
        kwargs={"level": 1},
        steps=150_000,
        trained_on=("mujoco", "bullet", "analytic"),
    ),
    Subject(
        name="rover",
        env="robolearn/NavRover-v0",
        kwargs={"level": 1},
        steps=400_000,
        trained_on=("mujoco",),
        seeds=1,  # wheels on a floor take their time
    ),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train what is missing, and test it everywhere."""

    episodes: int = 100
    """Of each run on each physics."""
    only: str = ""
    """Only tasks whose name contains this: swingup, lidar, rover."""
    steps: int | None = None
    """Another number of steps for all, to try it."""
    runs: Path = Path("runs/transfer")
    """Folder of the runs."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def main(options: Options) -> None:
    """Write the matrix of each task as soon as it is known."""
    matrices: list[Matrix] = []
    for subject in SUBJECTS:
        if options.only in subject.name:
            runs = tuple(
                trained(subject, engine, seed, options)
                for engine in subject.trained_on
                for seed in range(subject.seeds)
            )
            transfer = Transfer(TransferConfig(runs=runs, episodes=options.episodes))
            matrices.append(transfer.measure(lambda done: print(done, flush=True)))
            keep_results(options.out, *results(matrices))
    write_results(options.out, *results(matrices))


def trained(subject: Subject, engine: str, seed: int, options: Options) -> Path:
    """Return the folder of a finished run; it is trained, or its training gone on with, if not."""
    path = options.runs / f"{subject.name}-{engine}-{seed}"
    if (path / "config.yaml").is_file():
        resume(path)
    else:
        hyper = agent_class(AGENT).Config(**tuned(AGENT, subject.env))
        train(
            TrainConfig(
                agent=AGENT,
                env=EnvConfig(id=subject.env, engine=engine, kwargs=subject.kwargs),
                steps=options.steps or subject.steps,
                run=path,
                seed=seed,
                hyper=asdict(hyper),
            )
        )
    print(path, flush=True)
    return path


def results(matrices: list[Matrix]) -> tuple[str, dict[str, Any]]:
    """Return the matrices as Markdown and as JSON can hold them."""
    text = "\n".join(markdown(matrix, {}) for matrix in matrices)
    return text.strip(), {"matrices": [as_json(matrix) for matrix in matrices]}


if __name__ == "__main__":
    main(tyro.cli(Options))
