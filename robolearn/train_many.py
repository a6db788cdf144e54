"""Training the same agent with many seeds at once, each with a run folder of its own."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import numpy as np
import torch

from robolearn.agents.multi_seed import MultiSeedPPO
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.protocols import TrainingUpdate
from robolearn.config import from_dict
from robolearn.errors import DivergedError, RobolearnError, SaveError
from robolearn.evaluation import Evaluation, evaluate
from robolearn.progress import ProgressLine
from robolearn.runs.metrics import MetricsLog
from robolearn.runs.run import RunFolder, claim_folder
from robolearn.runs.stopping import Stopped, check_stop, stoppable
from robolearn.session import Every, TrainConfig, TrainResult


def train_many(
    config: TrainConfig, seeds: Sequence[int], device_choice: str | None = None
) -> list[TrainResult]:
    """Train PPO with many seeds at once, and leave a run folder behind for each.

    They are ``seed-0000``, ... in ``config.run``, by seed, each as ``train`` leaves it but that its
    one agent, the last, is also the best, for none is evaluated on the way. Ctrl-C and SIGTERM stop
    all between two updates, with what was learned so far saved; it can be used, not gone on with.

    Args:
        config: Of all; its seed is not used.
        seeds: Of the agents.
        device_choice: Why the device was chosen, for ``meta.json``.

    Returns:
        What came of each seed, in their order.

    Raises:
        RobolearnError: Something in the config cannot be; nothing was written.
        DivergedError: A number or a simulation stopped being finite with one of the seeds; the
            others' agents were saved.
        SaveError: An agent could not be written.
    """
    try:
        return _trained(config, seeds, device_choice)
    except torch.OutOfMemoryError as error:
        raise RobolearnError(
            f"{len(seeds)} agents at once do not fit into the memory of {config.device}. Use fewer "
            "--seeds, or a smaller --num-envs."
        ) from error


def _trained(
    config: TrainConfig, seeds: Sequence[int], device_choice: str | None
) -> list[TrainResult]:
    _require_plain(config)
    hyper = from_dict(PPOConfig, config.hyper) if config.hyper else None
    many = MultiSeedPPO(config.env, hyper, seeds, device=config.device, compile=config.compile)
    try:
        claim_folder(config.run, "run")
        with ExitStack() as locks:
            folders = []
            for seed in many.seeds:
                path = config.run / f"seed-{seed:04d}"
                folder = RunFolder.create(path, replace(config, seed=seed, run=path))
                chosen = device_choice or config.device
                folder.tell("computed", {"device_choice": chosen, "how": many.how})
                folder.tell("together_with", list(many.seeds))
                locks.enter_context(folder.lock())
                folders.append(folder)
            return _Runs(config, many, folders).run()
    finally:
        many.close()


def _require_plain(config: TrainConfig) -> None:
    """Refuse what runs of many seeds at once do not do.

    Raises:
        RobolearnError: It is asked for.
    """
    if config.agent != PPO.name:
        raise RobolearnError(
            f"Only ppo learns with many seeds at once, got {config.agent}. Train them one after "
            "the other."
        )
    asked = [name for name in ("eval_every", "video_every", "pretrained") if getattr(config, name)]
    if asked:
        raise RobolearnError(
            f"Many seeds at once are neither evaluated nor filmed on the way, nor pretrained, got "
            f"{', '.join(asked)}. Leave that out."
        )


class _Runs:
    """Runs of agents that learn together, while they go on."""

    def __init__(
        self, config: TrainConfig, many: MultiSeedPPO, folders: Sequence[RunFolder]
    ) -> None:
        self._config, self._many, self._folders = config, many, folders
        self._logs = [MetricsLog(folder.path) for folder in folders]
        self._save_every = Every(config.save_every)
        self._saved_at = time.monotonic()
        self._seconds = 0.0  # of learning

    def run(self) -> list[TrainResult]:
        """Learn to the end, or until asked to stop, and evaluate the agents."""
        config, count = self._config, len(self._folders)
        label = f"{config.agent} {config.env.id}, {count} seeds"
        evaluations: list[Evaluation | None] = [None] * count
        with stoppable(), ProgressLine(label, count * config.steps) as line:
            try:
                self._learn(line)
                for i in range(count):
                    evaluations[i] = self._conclude(i)
            except Stopped:
                self._save()
        if not all([log.flush() for log in self._logs]):
            raise SaveError(f"Not all figures could be written to {config.run}.")
        pairs = zip(self._folders, evaluations, strict=True)
        steps, seconds = self._many.steps, self._seconds
        return [
            TrainResult(
                run=run, steps=steps, seconds=seconds, evaluation=evaluation, video_failures=()
            )
            for run, evaluation in pairs
        ]

    def _learn(self, line: ProgressLine) -> None:
        began = time.perf_counter()
        try:
            for reports in self._many.iterate(self._config.steps):
                self._seconds += time.perf_counter() - began
                self._note(reports, line)
                check_stop()
                self._save_where_due()
                began = time.perf_counter()
        except DivergedError as error:
            self._save()
            raise DivergedError(f"{error} The other agents are in {self._config.run}.") from error
        self._save()

    def _note(self, reports: Sequence[TrainingUpdate], line: ProgressLine) -> None:
        """Log what the agents report and show it; the steps per second are those of all."""
        steps = sum(report.steps for report in reports)
        rate = steps / self._seconds
        for log, report in zip(self._logs, reports, strict=True):
            log.write(report.steps, {**report.metrics, "time/fps": rate})
        known = [report.metrics.get("rollout/ep_rew_mean") for report in reports]
        scores = [score for score in known if score is not None]
        line.update(steps, rate, float(np.mean(scores)) if scores else None)

    def _save_where_due(self) -> None:
        steps, minutes = self._many.steps, (time.monotonic() - self._saved_at) / 60
        if self._save_every.due(steps) or 0 < self._config.save_minutes < minutes:
            self._save_every.done(steps)
            self._save()

    def _save(self) -> None:
        """Write all agents, but those with a number that is not finite.

        Raises:
            SaveError: The disk is full, or not writable; the checkpoints before are as they were.
        """
        self._saved_at = time.monotonic()
        for folder, agent in zip(self._folders, self._many.agents, strict=True):
            checkpoint = folder.checkpoint(agent.steps)
            with suppress(DivergedError):
                try:
                    if not checkpoint.exists():
                        agent.save(checkpoint)
                    folder.point("last", checkpoint)
                    folder.point("best", checkpoint)
                except OSError as error:
                    raise SaveError(f"Cannot save to {checkpoint}: {error.strerror}.") from error

    def _conclude(self, i: int) -> Evaluation:
        """Evaluate an agent for good."""
        env, agent, folder = self._config.env, self._many.agents[i], self._folders[i]
        evaluation = evaluate(
            agent, env.held_out("test"), episodes=self._config.test_episodes, seed=0
        )
        figures = {
            "test/mean_reward": evaluation.mean,
            "test/success_rate": evaluation.success_rate,
        }
        self._logs[i].write(agent.steps, figures)
        told = {"env": env.id, "steps": agent.steps, **evaluation.summary()}
        try:
            folder.write_evaluation(told)
        except OSError as error:
            raise SaveError(f"Cannot write to {folder.path}: {error.strerror}.") from error
        return evaluation
