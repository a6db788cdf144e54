"""A training run while it goes on: the one loop, with an agent, a run folder and what watches."""

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.agents.protocols import TrainingUpdate
from robolearn.agents.saving import save_learning
from robolearn.collect.collector import Collector
from robolearn.collect.device_collector import DeviceCollector
from robolearn.collect.trajectory_recorder import TrajectoryRecorder
from robolearn.dumps import write_dump
from robolearn.environments import EnvConfig, check_seed, first_seed
from robolearn.errors import DivergedError, RobolearnError, RobolearnWarning, SaveError
from robolearn.evaluation import Evaluation, evaluate
from robolearn.progress import ProgressLine
from robolearn.runs.metrics import MetricsLog
from robolearn.runs.random_state import random_state, set_random_state
from robolearn.runs.run import RunFolder
from robolearn.runs.stopping import Stopped, check_stop, stoppable
from robolearn.video.background import BackgroundVideoRecorder
from robolearn.video.recording import rollout_from_trajectory


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    agent: str
    """Name of the agent."""
    env: EnvConfig
    """What it is trained in."""
    steps: int
    """Environment steps to learn from; on-policy agents finish their last rollout."""
    run: Path
    """Folder of the run; must not hold one yet."""
    seed: int = 0
    """Fixes everything random."""
    device: str = "auto"
    """'auto', 'cpu' or 'cuda'."""
    compile: str = "auto"
    """'graph' captures CUDA graphs, 'off' does not, 'auto' does where that can be; 'fuse' also
    compiles the step of engine torch."""
    hyper: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the agent."""
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
    pretrained: str | None = None
    """What the agent learned from before, which is measured first; None for nothing."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        least = 1 if self.pretrained is None else 0
        if self.steps < least:
            raise RobolearnError(f"steps must be at least {least}, got {self.steps}.")
        check_seed(self.seed)
        for name in ("eval_every", "save_every", "save_minutes", "video_every"):
            if not getattr(self, name) >= 0:
                raise RobolearnError(f"{name} must not be negative, got {getattr(self, name)}.")
        for name in ("eval_episodes", "test_episodes"):
            if getattr(self, name) < 1:
                raise RobolearnError(f"{name} must be at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came of a run."""

    run: RunFolder
    steps: int
    seconds: float
    """Wall time of learning, without evaluations, checkpoints and videos."""
    evaluation: Evaluation | None
    """Of the agent as it was at the end; None if it was stopped before."""
    video_failures: tuple[str, ...]

    @property
    def interrupted(self) -> bool:
        """Stopped on request before its steps were made and evaluated."""
        return self.evaluation is None


class Every:
    """Says whether another ``period`` steps have passed; never for a period of 0."""

    def __init__(self, period: int) -> None:
        """Be due at ``period`` first."""
        self._period = self.next = period

    def due(self, steps: int) -> bool:
        """Return whether it is time."""
        return self._period > 0 and self.next <= steps

    def done(self, steps: int) -> None:
        """Wait for the next time after ``steps``."""
        if self._period:
            self.next = (steps // self._period + 1) * self._period


class Session:
    """A run while it goes on."""

    def __init__(self, config: TrainConfig, agent: Any, folder: RunFolder) -> None:
        self._config, self._agent, self._folder = config, agent, folder
        tenth = max(config.steps // 10, 1)
        self._eval_every = Every(config.eval_every or tenth)
        self._save_every = Every(config.save_every or config.eval_every or tenth)
        self._video_every = Every(config.video_every)
        self._every = (self._eval_every, self._save_every, self._video_every)
        self._videos = BackgroundVideoRecorder(folder.videos, config.env.id)
        self._watch: TrajectoryRecorder | None = None
        self._watched: int | None = None  # steps when it was asked what it saw
        if config.video_every and isinstance(agent.collector, DeviceCollector):
            self._watch = agent.collector.recorder = TrajectoryRecorder(agent.collector.envs)
        self._recent: deque[float] = deque(maxlen=100)  # returns of episodes
        self._best, self._best_at = -math.inf, -1  # return and steps of the best agent
        self._evaluated = -1  # steps of the latest evaluation
        self._seconds = 0.0  # of learning
        self._offsets: dict[str, int] | None = None  # of the log
        self._saved_at = time.monotonic()
        self._unsaved: OSError | None = None  # why the latest checkpoint could not be written

    def _state(self) -> dict[str, Any]:
        """Return all that the run is to go on with, as JSON can hold it."""
        return {
            "next": [every.next for every in self._every],
            "recent": list(self._recent),
            "best": [self._best, self._best_at],
            "evaluated": self._evaluated,
            "seconds": self._seconds,
            "offsets": self._log.offsets,
            "random": random_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what ``_state`` returned."""
        for every, due in zip(self._every, state["next"], strict=True):
            every.next = int(due)
        self._recent.extend(float(total) for total in state["recent"])
        best, at = state["best"]
        self._best, self._best_at = float(best), int(at)
        self._evaluated = int(state["evaluated"])
        self._seconds = float(state["seconds"])
        self._offsets = {name: int(size) for name, size in state["offsets"].items()}
        set_random_state(state["random"])

    def run(self, reports: Iterator[TrainingUpdate]) -> TrainResult:
        """Learn to the end, or until asked to stop."""
        config = self._config
        self._log = MetricsLog(self._folder.path, self._offsets)
        try:
            with stoppable(), ProgressLine(f"{config.agent} {config.env.id}", config.steps) as line:
                evaluation = self._learn(reports, line)
        except BaseException:
            self._videos.cancel()  # or their process would outlive us
            raise
        if self._unsaved is not None:
            stored = self._folder.stored()
            left = f"The one before it is {stored[0]}." if stored else "There is none before it."
            why = self._unsaved.strerror
            raise SaveError(f"The last checkpoint could not be written: {why}. {left}")
        if not self._log.flush():
            raise SaveError(f"Not all figures could be written to {self._folder.path}.")
        return TrainResult(
            run=self._folder,
            steps=self._agent.steps,
            seconds=self._seconds,
            evaluation=evaluation,
            video_failures=tuple(self._videos.failures),
        )

    def _learn(self, reports: Iterator[TrainingUpdate], line: ProgressLine) -> Evaluation | None:
        try:
            self._point("best", self._best_at)  # a kill may have come before that
            if self._config.pretrained is not None and not self._agent.steps:
                self._select()
            if self._config.video_every and not self._agent.steps:
                self._videos.request(self._agent, 0)  # for a montage to begin with
            self._attend()  # to what was due when the run was stopped
            for report in self._timed(reports):
                self._note(report, line)
                self._attend()
            self._show_watched(wait=True)
            evaluation = self._conclude()
        except Stopped:
            self._save("last")
            self._videos.cancel()
            return None
        except DivergedError as error:
            raise self._explained(error) from error
        try:
            self._videos.finish()
        except Stopped:
            self._videos.cancel()
        return evaluation

    def _timed(self, reports: Iterator[TrainingUpdate]) -> Iterator[TrainingUpdate]:
        """Pass reports on, adding up the time it takes to get them."""
        while True:
            began = time.perf_counter()
            try:
                report = next(reports, None)
            finally:
                self._seconds += time.perf_counter() - began
            if report is None:
                return
            yield report

    def _explained(self, error: DivergedError) -> DivergedError:
        """Return the error with what is left of the run, and how to look at what happened."""
        words = [str(error)]
        if error.env is not None and isinstance(self._agent.collector, Collector):
            dump = self._folder.dump(self._agent.steps, error.env)
            agent = self._agent
            try:
                write_dump(dump, agent.collector, agent.envs.config, error.env, str(error))
            except OSError as problem:
                words.append(f"Its last states could not be written: {problem.strerror}.")
            else:
                words.append(f"See it: robolearn record --from-dump {dump} --out {dump}.mp4")
        kept = self._folder.stored()
        if kept:
            words.append(f"The last good agent is in {kept[0]}.")
        return DivergedError(" ".join(words), error.env)

    def _note(self, report: TrainingUpdate, line: ProgressLine) -> None:
        """Log a report and show it."""
        self._recent.extend(episode.total_reward for episode in report.episodes)
        rate = report.steps / self._seconds
        score = report.metrics.get("rollout/ep_rew_mean")  # summed up on the device
        if self._recent:
            score = float(np.mean(self._recent))
        figures = {**report.metrics, "time/fps": rate, "rollout/ep_rew_mean": score}
        for name in report.episodes[0].info if report.episodes else ():
            if name.startswith("reward_"):
                values = [episode.info[name] for episode in report.episodes]
                figures[f"rollout/{name}"] = float(np.mean(values))
        if self._agent.collector.num_dropped:
            figures["rollout/dropped_steps"] = self._agent.collector.num_dropped
        self._log.write(report.steps, figures)
        line.update(report.steps, rate, score)

    def _attend(self) -> None:
        """Evaluate, save and film where that is due.

        Raises:
            Stopped: On request.
        """
        check_stop()
        steps = self._agent.steps
        if self._eval_every.due(steps) and steps < self._config.steps:  # the end has its own
            self._select()
        minutes = (time.monotonic() - self._saved_at) / 60
        if self._save_every.due(steps) or 0 < self._config.save_minutes < minutes:
            self._save_every.done(steps)
            self._save("last")
        due = self._video_every.due(steps)
        self._show_watched(wait=due)
        if due:
            self._video_every.done(steps)
            self._request_video(steps)
        self._videos.poll()

    def _request_video(self, steps: int) -> None:
        """Ask for a film: on a device of an episode of the training, which comes by and by."""
        if self._watch is None or steps >= self._config.steps:  # the end has its own
            self._videos.request(self._agent, steps)
            return
        self._watch.request()
        self._watched = steps
        self._show_watched()

    def _show_watched(self, *, wait: bool = False) -> None:
        """Have an episode filmed that has come from the device; where there is none, the agent.

        Args:
            wait: For one that was asked for.
        """
        watch, steps = self._watch, self._watched
        if watch is None or steps is None or not (wait or watch.arrived):
            return
        self._watched = None
        episode = watch.fetch(wait=wait)
        if episode is None:  # none is over yet
            self._videos.request(self._agent, self._agent.steps)
            return
        config = self._config
        first = first_seed(config.seed, self._agent.collector.num_envs)
        rollout = rollout_from_trajectory(episode, config.env, seed=first, steps=steps)
        self._videos.request_rollout(rollout, steps)

    def _select(self) -> None:
        """Evaluate the agent on the way, and keep it if it is the best so far.

        The seed is not that of final evaluations, which the choice would else make look better.
        """
        config, steps = self._config, self._agent.steps
        if self._evaluated == steps:
            return
        where = config.env.held_out("val")
        evaluation = self._evaluate(where, config.eval_episodes, seed=1)
        figures = {
            "eval/mean_reward": evaluation.mean,
            "eval/success_rate": evaluation.success_rate,
        }
        self._log.write(steps, figures)
        self._evaluated = steps
        self._eval_every.done(steps)
        if evaluation.mean >= self._best:  # of equals the later one has learned from more
            self._best, self._best_at = evaluation.mean, steps
            self._save("best")

    def _evaluate(self, where: EnvConfig, episodes: int, seed: int) -> Evaluation:
        try:
            return evaluate(self._agent, where, episodes=episodes, seed=seed)
        except DivergedError as error:  # in an environment other than those of the training
            raise DivergedError(f"In an evaluation: {error}") from error

    def _save(self, pointer: str) -> None:
        """Write a checkpoint, unless these steps have one already.

        All of a run that have as many steps lead to the same: what they differ in is how much of
        what is due after a round, and of the next round, was done already.
        """
        steps = self._agent.steps
        checkpoint = self._folder.checkpoint(steps)
        self._saved_at = time.monotonic()
        try:
            self._log.flush()
            if not checkpoint.exists():
                save_learning(self._agent, checkpoint, self._state())
            self._point(pointer, steps)
        except OSError as error:
            if self._unsaved is None:
                warnings.warn(
                    f"Cannot save to {checkpoint} ({error.strerror}): training goes on, and older "
                    "checkpoints are as they were.",
                    RobolearnWarning,
                    stacklevel=2,
                )
            self._unsaved = error
        else:
            self._unsaved = None

    def _point(self, pointer: str, steps: int) -> None:
        """Let ``last`` or ``best`` name the checkpoint of a number of steps, if there is one."""
        checkpoint = self._folder.checkpoint(max(steps, 0))
        if checkpoint.exists():
            self._folder.point(pointer, checkpoint)

    def _conclude(self) -> Evaluation:
        """Evaluate the agent for good and save it."""
        self._select()
        self._save("last")
        if self._config.video_every:
            self._videos.request(self._agent, self._agent.steps)
        where = self._config.env.held_out("test")
        evaluation = self._evaluate(where, self._config.test_episodes, seed=0)
        figures = {
            "test/mean_reward": evaluation.mean,
            "test/success_rate": evaluation.success_rate,
        }
        self._log.write(self._agent.steps, figures)
        try:
            self._folder.write_evaluation(
                {"env": self._config.env.id, "steps": self._agent.steps, **evaluation.summary()}
            )
        except OSError as error:
            self._unsaved = error
        return evaluation
