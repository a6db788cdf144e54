"""Reading any agent back."""

from pathlib import Path
from typing import Any

from robolearn.agents import agent_class
from robolearn.agents.saving import load_learning
from robolearn.environments import Env
from robolearn.files import read_json, run_of
from robolearn.networks.encoders import EncoderFactory
from robolearn.runs.run import RunFolder, find_checkpoint, first_sound


def load_agent(
    path: str | Path,
    *,
    env: Env | None = None,
    encoder: EncoderFactory | None = None,
    device: str = "auto",
) -> Any:
    """Return the agent of a run (its best checkpoint, else its last) or of a saved folder.

    No environment is made: spaces are saved in the folder.

    Args:
        path: The folder.
        env: Environments to go on learning in, instead of the ones it was trained in.
        encoder: What the agent was made with, if it has an encoder of the user's.
        device: 'auto', 'cpu' or 'cuda'.

    Raises:
        RobolearnError: No agent there, or a damaged one.
    """
    folder = find_checkpoint(Path(path))
    how: dict[str, Any] = {} if encoder is None else {"encoder": encoder}
    return _class_of(folder).load(folder, env=env, device=device, **how)


def load_run(
    run: RunFolder, *, device: str = "auto", compile: str = "auto"
) -> tuple[Any, dict[str, Any], bool, Path]:
    """Return what ``load_learning`` does of a run's newest undamaged checkpoint, and its path.

    Raises:
        RobolearnError: None that training can go on from.
    """
    folder = first_sound(run, ())
    return *load_learning(_class_of(folder), folder, device, compile), folder


def _class_of(folder: Path) -> Any:
    name = str(read_json(folder / "state.json").get("agent"))
    return agent_class(name, outside=run_of(folder))
