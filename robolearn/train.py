"""Training runs, begun and gone on with."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from robolearn.agents import agent_class
from robolearn.agents.load import load_run
from robolearn.agents.protocols import Agent, TrainingUpdate, require_agent
from robolearn.config import from_dict
from robolearn.environments import described
from robolearn.errors import RobolearnWarning
from robolearn.files import fitting
from robolearn.placement import Place, choose_place, fits, raise_too_large, settings
from robolearn.runs.meta import meta
from robolearn.runs.run import RunFolder
from robolearn.session import Session, TrainConfig, TrainResult

Reports: TypeAlias = Iterator[TrainingUpdate]


def train(config: TrainConfig, device_choice: str | None = None) -> TrainResult:
    """Train an agent and leave a run folder behind.

    Ctrl-C and SIGTERM stop it between two steps, with a checkpoint that ``resume`` goes on from.

    Args:
        config: Of the run.
        device_choice: Why its device was chosen; None to choose one where it says 'auto'.

    Raises:
        RobolearnError: Something in the config cannot be; nothing was written, but where memory ran
            out later than that.
        DivergedError: A number or a simulation stopped being finite.
        SaveError: The last checkpoint could not be written.
    """
    cls = agent_class(config.agent)
    hyper = from_dict(cls.Config, config.hyper) if config.hyper else None
    if device_choice is None:
        config, device_choice = placed(config)
    how: dict[str, Any] = {"seed": config.seed, "device": config.device, "compile": config.compile}
    try:
        return carry_out(cls(config.env, hyper, **how), config, device_choice=device_choice)
    except torch.OutOfMemoryError:
        pass  # and what did not fit is held no longer
    place = Place(config.device, config.env)
    raise_too_large(
        settings(config.agent, config.env, config.hyper).num_envs,
        torch.device(config.device),
        lambda n: fits(config.agent, place, config.hyper, n, compile=config.compile),
    )


def placed(config: TrainConfig) -> tuple[TrainConfig, str]:
    """Return a config that says where to train, chosen by trial if it did not, and why there."""
    choice = choose_place(
        config.agent,
        config.env,
        config.hyper,
        device=config.device,
        compile=config.compile,
        seed=config.seed,
    )
    return replace(config, device=choice.place.device, env=choice.place.env), choice.why


def carry_out(
    agent: Agent,
    config: TrainConfig,
    pretraining: Mapping[str, Any] | None = None,
    follow: Callable[[Reports], Reports] = lambda reports: reports,
    device_choice: str | None = None,
) -> TrainResult:
    """Let an agent learn as a config says, close it, and leave a run folder behind.

    Args:
        agent: Made as the config says.
        config: Of the run.
        pretraining: What ``meta.json`` is to tell of what the agent learned before.
        follow: Watches its reports, and passes them on.
        device_choice: Why it learns where it does, for ``meta.json``.

    Raises:
        RobolearnError, DivergedError, SaveError: As for ``train``.
    """
    try:
        require_agent(agent)
        _ = agent.collector  # refuses before a folder is made
        folder = RunFolder.create(config.run, config)
        if pretraining is not None:
            folder.tell("pretraining", dict(pretraining))
        folder.tell("computed", {"device_choice": device_choice or config.device, "how": agent.how})
        with folder.lock():
            return Session(config, agent, folder).run(follow(agent.iterate(config.steps)))
    finally:
        agent.close()


def resume(path: Path) -> TrainResult | None:
    """Go on with a run where its newest checkpoint was made, bit for bit.

    Of environments that cannot be put back to where they were, new episodes are begun; that is
    said, and noted in ``meta.json``.

    Returns:
        What came of it; None of a run that has come to its end already.

    Raises:
        RobolearnError: No run, none with a checkpoint that is not damaged, or another process
            trains it.
        DivergedError, SaveError: As for ``train``.
    """
    folder = RunFolder.open(path)
    folder.refuse_links()
    told = folder.config()
    env = described(told.get("env"), outside=folder.path)
    config = from_dict(TrainConfig, {**told, "env": env, "run": path})
    with folder.lock():
        folder.sweep()
        agent, state, exact, checkpoint = load_run(
            folder, device=config.device, compile=config.compile
        )
        try:
            if agent.steps >= agent.until and folder.evaluated:
                return None
            folder.forget_after(checkpoint)
            if (config.pretrained or "").startswith("jump-start"):
                exact = False
                warnings.warn(
                    "The expert that led a jump-start does not come back: the agent goes on alone.",
                    RobolearnWarning,
                    stacklevel=2,
                )
            session = Session(config, agent, folder)
            with fitting(checkpoint):
                session.restore(state)
            _note_resumption(folder, agent, exact=exact)
            return session.run(agent.continue_learning())
        finally:
            agent.close()


def _note_resumption(folder: RunFolder, agent: Agent, *, exact: bool) -> None:
    facts = {"steps": agent.steps, "exact": exact, "how": agent.how}
    folder.tell("resumed", {**facts, **meta()})
    if not exact:
        warnings.warn(
            "Not everything could be put back to where it was, such as environments that then "
            "begin new episodes: what follows is approximate.",
            RobolearnWarning,
            stacklevel=3,
        )
