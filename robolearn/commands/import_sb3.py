"""``robolearn import-sb3 MODEL``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from robolearn.baselines.sb3_files import read_policy, to_agent
from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import EnvOptions
from robolearn.environments import EnvConfig
from robolearn.runs.run import RunFolder


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Make a run of a model that Stable-Baselines3's A2C, PPO or DQN saved."""

    model: Annotated[Path, tyro.conf.Positional]
    """The zip that model.save wrote; nothing in it is run."""
    env: str
    """Gymnasium id of what it was trained in."""
    engine: str | None = None
    """mujoco, bullet or analytic; without it the environment's default."""
    action: str | None = None
    """continuous or discrete; without it the environment's default."""
    run: Path
    """Folder of the run; must not hold one yet."""
    activation: Literal["tanh", "relu"] | None = None
    """Of the hidden layers, which the weights do not tell; without it SB3's own: tanh for A2C and
    PPO, relu for DQN."""
    json: bool = False
    """Print one JSON object instead of words."""


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Where an imported agent comes from."""

    agent: str
    """Name of the agent it has become."""
    env: EnvConfig
    """What it acts in."""
    source: str
    """Name of the file."""
    sha256: str
    """Of the file."""


def main(arguments: Sequence[str]) -> int:
    """Import."""
    options = parse(ImportOptions, arguments, "import-sb3")
    where = EnvOptions(env=options.env, engine=options.engine, action=options.action)
    policy = read_policy(options.model)
    agent = to_agent(policy, where.config(), options.activation)
    config = ImportConfig(
        agent=agent.name, env=where.config(), source=options.model.name, sha256=policy.sha256
    )
    folder = RunFolder.create(options.run, config)
    agent.save(folder.checkpoint(0))
    folder.point("last", folder.checkpoint(0))
    activation = options.activation or ("relu" if agent.name == "dqn" else "tanh")
    if options.json:
        facts = {"agent": agent.name, "env": options.env, "hidden": list(policy.hidden)}
        print_json(
            {"run": str(options.run), **facts, "activation": activation, "sha256": policy.sha256}
        )
        return 0
    widths = ", ".join(map(str, policy.hidden)) or "no"
    print(f"{options.run}: a {agent.name} for {options.env} with {widths} hidden units.")
    print(f"Taken to be {activation}: what hidden layers have, the weights do not tell.")
    print("Statistics of VecNormalize are not in the model: trained with them, it acts otherwise.")
    print(f"See it: robolearn eval {options.run}")
    return 0
