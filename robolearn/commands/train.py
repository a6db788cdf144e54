"""``robolearn train AGENT``."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from robolearn.agents import AGENTS, FROM_DEMONSTRATIONS, agent_class
from robolearn.agents.defaults import default_total_steps, tuned
from robolearn.agents.dqn import RAINBOW, DQNConfig, rainbow
from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import EnvOptions
from robolearn.errors import RobolearnError
from robolearn.train import TrainConfig, TrainResult, placed, train
from robolearn.train_many import train_many

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class KeepingOptions:
    """What keeps a training alive."""

    num_workers: int = 0
    """Worker processes that step the environments; 0 steps them in this process. Useful for Bullet,
    and for third-party environments that may crash or hang."""
    step_timeout: float = 60.0
    """Seconds after which a worker that does not answer is replaced."""
    on_divergence: Literal["raise", "truncate"] = "raise"
    """Where numbers are no longer finite: stop with exit code 4, or reset that environment."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Generic[C]):
    """Train an agent and leave a run folder."""

    where: Annotated[EnvOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=EnvOptions)
    keeping: Annotated[KeepingOptions, tyro.conf.OmitArgPrefixes] = field(
        default_factory=KeepingOptions
    )
    hyper: Annotated[C, tyro.conf.OmitArgPrefixes]
    steps: int
    """Environment steps to learn from."""
    seed: int = 0
    """Fixes everything random."""
    seeds: int = 1
    """How many agents ppo trains side by side on engine torch or warp, with this seed, the next and
    so on; each leaves its run in a folder of RUN."""
    device: str = "auto"
    """auto tries out which is faster, for about five seconds; cpu or cuda. Engines torch and warp
    simulate there as well."""
    compile: Literal["auto", "off", "graph", "fuse"] = "auto"
    """Capture what is computed again and again as CUDA graphs: graph, or off; auto does where that
    can be. fuse is auto, and compiles the step of engine torch, which takes half a minute."""
    run: Path | None = None
    """Folder of the run; without it runs/AGENT-ENV-TIME."""
    eval_every: int = 0
    """Steps between evaluations; 0 for ten in all."""
    eval_episodes: int = 20
    """Episodes of an evaluation on the way."""
    test_episodes: int = 100
    """Episodes of the final evaluation."""
    save_every: int = 0
    """Steps between checkpoints; 0 for one at each evaluation."""
    save_minutes: float = 10.0
    """Minutes after which there is a checkpoint in any case; 0 for never."""
    video_every: int = 0
    """Steps between videos; 0 for none."""
    json: bool = False
    """Print one JSON object instead of words."""


@dataclass(frozen=True, kw_only=True)
class DQNOptions(TrainOptions[DQNConfig]):
    """Train an agent and leave a run folder."""

    rainbow: bool = False
    """Rainbow: double Q-learning, dueling, prioritized replay, noisy networks, C51, n_step 3."""


def main(arguments: Sequence[str]) -> int:
    """Train."""
    if not arguments or arguments[0].startswith("-"):
        names = ", ".join(AGENTS)
        if arguments and arguments[0] in ("-h", "--help"):
            print(f"usage: robolearn train AGENT [OPTIONS]\n\nAGENT is one of: {names};")
            print("or module:Class, a class of yours in the current folder or on PYTHONPATH.")
            print("robolearn train AGENT --help tells its options.")
            return 0
        raise RobolearnError(
            f"Which agent? robolearn train AGENT, one of: {names}; or module:Class of your own."
        )
    name, *rest = arguments
    if name in FROM_DEMONSTRATIONS:
        raise RobolearnError(
            f"{name} needs demonstrations, which train does not read. Use: robolearn imitate "
            f"{name} --demos SET."
        )
    cls = agent_class(name)
    env_id = _asked_env(rest)
    kind = DQNOptions if name == "dqn" else TrainOptions[cls.Config]
    usual = kind(hyper=cls.Config(**tuned(name, env_id)), steps=default_total_steps(name, env_id))
    options = parse(kind, rest, f"train {name}", usual)
    if isinstance(options, DQNOptions) and options.rainbow:
        overrides = {**tuned(name, env_id), **tuned("rainbow", env_id)}
        usual = replace(usual, hyper=rainbow(**overrides))
        options = parse(kind, rest, f"train {name}", usual)
        _require_rainbow(options.hyper)
    env = replace(options.where.config(), **asdict(options.keeping))
    config, why = placed(
        TrainConfig(
            agent=name,
            env=env,
            steps=options.steps,
            run=options.run or _run_name(name, env.id),
            seed=options.seed,
            device=options.device,
            compile=options.compile,
            hyper=asdict(options.hyper),
            eval_every=options.eval_every,
            eval_episodes=options.eval_episodes,
            test_episodes=options.test_episodes,
            save_every=options.save_every,
            save_minutes=options.save_minutes,
            video_every=options.video_every,
        )
    )
    if options.seeds != 1:
        seeds = range(options.seed, options.seed + options.seeds)
        results = train_many(config, seeds, why)
        print_results(results, as_json=options.json)
    else:
        results = [train(config, why)]
        print_result(results[0], as_json=options.json)
    if not (options.json or results[0].interrupted):
        print(f"Computed on {why}.")
    return 0


def _require_rainbow(config: DQNConfig) -> None:
    """Refuse options that switch off a part of Rainbow; other numbers go with it.

    Raises:
        RobolearnError: One does.
    """
    for name, value in RAINBOW.items():
        asked = getattr(config, name)
        part = isinstance(value, bool | str) or (name, asked) == ("n_step", 1)
        if part and asked != value:
            raise RobolearnError(
                f"--rainbow sets {name}={value}, got {name}={asked}. Leave out one of the two."
            )


def print_results(results: Sequence[TrainResult], *, as_json: bool) -> None:
    """Print what came of several runs that learned at once."""
    if as_json:
        print_json({"runs": [_summary(result) for result in results]})
        return
    first = results[0]
    if first.interrupted:
        print(f"Stopped after {first.steps:,} steps of each agent; what they know is saved.")
        return
    print(f"Done after {first.steps:,} steps of each agent in {first.seconds:.1f} s.")
    for result in results:
        print(f"{result.run.path}: {result.evaluation}")


def print_result(result: TrainResult, *, as_json: bool) -> None:
    """Print what came of a run."""
    run, found = result.run.path, result.evaluation
    if as_json:
        print_json(_summary(result))
        return
    for failure in result.video_failures:
        print(f"No video: {failure}")
    if found is None:
        print(f"Stopped after {result.steps:,} steps. Go on with: robolearn resume {run}")
        return
    print(f"Done after {result.steps:,} steps in {result.seconds:.1f} s.")
    print(f"Final policy: {found}")
    print(f"See it: robolearn record {run} --out videos/{run.name}.mp4")


def _summary(result: TrainResult) -> dict[str, Any]:
    """Return what came of a run, as JSON can hold it."""
    run, found = result.run.path, result.evaluation
    figures = {"run": str(run), "steps": result.steps, "seconds": result.seconds}
    ended = {"interrupted": result.interrupted, "video_failures": list(result.video_failures)}
    return {**figures, **ended, **(found.summary() if found else {})}


def _asked_env(arguments: Sequence[str]) -> str:
    """Return the environment asked for: its tuned hyper-parameters are the defaults shown."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--env", default=EnvOptions.env)
    return finder.parse_known_args(arguments)[0].env


def _run_name(agent: str, env_id: str) -> Path:
    agent = agent.rpartition(":")[2]
    return Path("runs") / f"{agent}-{env_id.split('/')[-1]}-{time.strftime('%Y%m%d-%H%M%S')}"
