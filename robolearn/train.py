"""The one training loop: an agent, a run folder, and what watches them."""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.agents import agent_class
from robolearn.agents.base import Agent, Progress
from robolearn.collect import Episode
from robolearn.config import from_dict
from robolearn.environments import EnvConfig, check_seed
from robolearn.errors import DivergedError, RobolearnError, SaveError
from robolearn.evaluation import Evaluation, evaluate
from robolearn.progress import ProgressLine
from robolearn.runs.metrics import MetricsLog
from robolearn.runs.run import RunFolder
from robolearn.video.background import BackgroundFilms


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    agent: str
    """Name of the agent."""
    env: EnvConfig
    """What it is trained in."""
    steps: int
    """Environment steps to learn from."""
    run: Path
    """Folder of the run; must not hold one yet."""
    seed: int = 0
    """Fixes everything random."""
    device: str = "auto"
    """'auto', 'cpu' or 'cuda'."""
    hyper: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the agent."""
    eval_every: int = 0
    """Steps between evaluations; 0 for ten in all."""
    eval_episodes: int = 20
    """Episodes of an evaluation on the way; the final one has 100."""
    save_every: int = 0
    """Steps between checkpoints; 0 for one at each evaluation."""
    video_every: int = 0
    """Steps between videos; 0 for none."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        if self.steps < 1:
            raise RobolearnError(f"steps must be at least 1, got {self.steps}.")
        check_seed(self.seed)
        for name in ("eval_every", "save_every", "video_every"):
            if getattr(self, name) < 0:
                raise RobolearnError(f"{name} must not be negative, got {getattr(self, name)}.")
        if self.eval_episodes < 1:
            raise RobolearnError(f"eval_episodes must be at least 1, got {self.eval_episodes}.")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came of a run."""

    run: RunFolder
    steps: int
    seconds: float
    """Wall time of learning, without evaluations, checkpoints and videos."""
    evaluation: Evaluation
    """Of the agent as it was at the end."""
    interrupted: bool
    """Stopped by Ctrl-C before its steps were made."""
    film_failures: tuple[str, ...]


class _Every:
    """Says when another ``period`` steps have passed; never for a period of 0."""

    def __init__(self, period: int) -> None:
        self._period = self._next = period

    def due(self, steps: int) -> bool:
        if not self._period or steps < self._next:
            return False
        self._next = (steps // self._period + 1) * self._period
        return True


def train(config: TrainConfig) -> TrainResult:
    """Train an agent and leave a run folder behind.

    Raises:
        RobolearnError: Something in the config cannot be; nothing was written.
        DivergedError: A figure or a simulation stopped being finite.
        SaveError: A checkpoint could not be written.
    """
    cls = agent_class(config.agent)
    hyper = from_dict(cls.Config, config.hyper) if config.hyper else None
    agent: Agent = cls(config.env, hyper, seed=config.seed, device=config.device)
    try:
        agent.envs.collector(agent.config.num_envs, config.seed)  # refuses before a folder is made
        return _Session(config, agent, RunFolder.create(config.run, config)).run()
    finally:
        agent.close()


class _Session:
    """A run while it goes on."""

    def __init__(self, config: TrainConfig, agent: Agent, folder: RunFolder) -> None:
        self._config, self._agent, self._folder = config, agent, folder
        tenth = max(config.steps // 10, 1)
        self._eval_due = _Every(config.eval_every or tenth)
        self._save_due = _Every(config.save_every or config.eval_every or tenth)
        self._film_due = _Every(config.video_every)
        self._films = BackgroundFilms(folder.videos)
        self._recent: deque[Episode] = deque(maxlen=100)
        self._best = -math.inf
        self._seconds = 0.0  # of learning
        self._saved = False  # the agent as it is now

    def run(self) -> TrainResult:
        try:
            return self._run()
        except BaseException:
            self._films.cancel()  # or their process would outlive us
            raise

    def _run(self) -> TrainResult:
        config = self._config
        interrupted = False
        with (
            MetricsLog(self._folder.path) as log,
            ProgressLine(f"{config.agent} {config.env.id}", config.steps) as line,
        ):
            try:
                for report in self._timed(self._agent.iterate(config.steps)):
                    self._watch(report, log, line)
            except KeyboardInterrupt:
                interrupted = True
            evaluation = self._conclude(log)
        if interrupted:
            self._films.cancel()
        else:
            self._films.finish()
        return TrainResult(
            run=self._folder,
            steps=self._agent.steps,
            seconds=self._seconds,
            evaluation=evaluation,
            interrupted=interrupted,
            film_failures=tuple(self._films.failures),
        )

    def _timed(self, reports: Iterator[Progress]) -> Iterator[Progress]:
        """Pass reports on, adding up the time it takes to get them."""
        while True:
            began = time.perf_counter()
            self._saved = False
            report = next(reports, None)
            self._seconds += time.perf_counter() - began
            if report is None:
                return
            yield report

    def _watch(self, report: Progress, log: MetricsLog, line: ProgressLine) -> None:
        """Log a report, and evaluate, save and film where that is due."""
        steps = report.steps
        for name, figure in report.metrics.items():
            if not math.isfinite(figure):
                kept = self._folder.pointed("last") or self._folder.pointed("best")
                where = f" The last good agent is in {kept}." if kept else ""
                raise DivergedError(
                    f"{name} is {figure} after {steps} steps; try a lower learning_rate.{where}"
                )
        self._recent.extend(report.episodes)
        rate = steps / self._seconds
        score = self._recent_mean()
        log.write(steps, {**report.metrics, "steps_per_second": rate, "episode_return": score})
        line.update(steps, rate, score)
        if self._eval_due.due(steps) and steps < self._config.steps:  # the end has its own
            self._select(log)
        if self._save_due.due(steps):
            self._save("last")
        if self._film_due.due(steps):
            self._films.ask(self._agent, steps)
        self._films.poll()

    def _recent_mean(self) -> float | None:
        if not self._recent:
            return None
        return float(np.mean([episode.total for episode in self._recent]))

    def _select(self, log: MetricsLog) -> None:
        """Evaluate the agent on the way, and keep it if it is the best so far.

        The seed is not that of final evaluations, which the choice would else make look better.
        """
        config = self._config
        where = config.env.held_out("val")
        evaluation = evaluate(self._agent, where, episodes=config.eval_episodes, seed=1)
        figures = {"eval_return": evaluation.mean, "eval_success": evaluation.success_rate}
        log.write(self._agent.steps, figures)
        if evaluation.mean >= self._best:  # of equals the later one has learned from more
            self._best = evaluation.mean
            self._save("best")

    def _save(self, pointer: str) -> None:
        checkpoint = self._folder.checkpoint(self._agent.steps)
        try:
            if not self._saved:
                self._agent.save(checkpoint)
                self._saved = True
            self._folder.point(pointer, checkpoint)
        except OSError as error:
            raise SaveError(f"Cannot save to {checkpoint}: {error.strerror}.") from error

    def _conclude(self, log: MetricsLog) -> Evaluation:
        """Evaluate the agent for good and save it."""
        self._select(log)
        self._save("last")
        evaluation = evaluate(self._agent, self._config.env.held_out("test"), episodes=100)
        figures = {"final_return": evaluation.mean, "final_success": evaluation.success_rate}
        log.write(self._agent.steps, figures)
        self._folder.write_evaluation(
            {"env": self._config.env.id, "steps": self._agent.steps, **evaluation.summary()}
        )
        return evaluation
