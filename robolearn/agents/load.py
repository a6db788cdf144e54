"""Reading any agent back."""

from pathlib import Path
from typing import Any

from robolearn.agents import agent_class
from robolearn.agents.saving import load_learning
from robolearn.files import read_json
from robolearn.runs.run import RunFolder, find_checkpoint, first_sound


def load_agent(path: Path, *, device: str = "auto") -> Any:
    """Return the agent of a run (its best checkpoint, else its last) or of a checkpoint.

    Raises:
        RobolearnError: No agent there, or a damaged one.
    """
    folder = find_checkpoint(path)
    return _class_of(folder).load(folder, device=device)


def load_run(
    run: RunFolder, *, device: str = "auto", compile: str = "auto"
) -> tuple[Any, dict[str, Any], bool, Path]:
    """Return a run's agent where its training stopped, to go on from there.

    Args:
        run: The run.
        device: 'auto', 'cpu' or 'cuda'.
        compile: See :class:`~robolearn.agents.learner.Learner`.

    Returns:
        The agent, the session, whether it goes on exactly there, and the checkpoint: the newest one
        that is not damaged.

    Raises:
        RobolearnError: None that training can go on from.
    """
    folder = first_sound(run, ())
    return *load_learning(_class_of(folder), folder, device, compile), folder


def _class_of(folder: Path) -> Any:
    return agent_class(str(read_json(folder / "state.json").get("agent")))
