"""Reading any agent back."""

import json
from pathlib import Path
from typing import Any

from robolearn.agents import agent_class
from robolearn.errors import RobolearnError
from robolearn.runs.run import find_checkpoint


def load_agent(path: Path, *, device: str = "auto") -> Any:
    """Return the agent of a run (its best checkpoint, else its last) or of a checkpoint.

    Raises:
        RobolearnError: No agent there, or a damaged one.
    """
    folder = find_checkpoint(path)
    try:
        name = json.loads((folder / "state.json").read_text()).get("agent")
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RobolearnError(f"{folder} is damaged: {error}.") from error
    return agent_class(str(name)).load(folder, device=device)
