"""The card of a set of demonstrations: where it comes from, and how good it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robolearn.config import from_dict, to_dict
from robolearn.environments import EnvConfig, described
from robolearn.errors import RobolearnError
from robolearn.files import read_json, shown
from robolearn.runs.meta import command_line, git_commit, versions

CARD = "card.json"
SCHEMA = 1
"""Version of the card; raised whenever an older one can no longer be read."""
_LARGEST = 2**22  # bytes


@dataclass(frozen=True, kw_only=True)
class Source:
    """A set that another one was merged from."""

    name: str
    sha256: str
    """Of its ``main_data.hdf5``."""
    episodes: int
    env: Mapping[str, Any] | None
    expert: str
    noise: float | None


@dataclass(frozen=True, kw_only=True)
class Card:
    """All there is to know of a set of demonstrations."""

    schema: int = SCHEMA
    name: str
    """Minari's id: the name of the set's folder."""
    env: Mapping[str, Any] | None = None
    """``id``, ``engine`` and ``kwargs`` of an EnvConfig; None where nobody knows."""
    dt: float | None = None
    """Duration of an environment step in s, None where nobody says."""
    expert: str
    """Who acted: lqr, swingup, planner, random, human, or an agent's run folder."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the expert's behavior depends on, by name."""
    noise: float | None = None
    """Of discrete actions: the part drawn at random. Of others: the standard deviation of what was
    added, in halves of the actions' range."""
    seed: int | None = None
    """Of the recording; None for none."""
    asked: int
    """Episodes there are to be; more than there are if recording was stopped."""
    episodes: int
    steps: int
    mean_return: float
    min_return: float
    max_return: float
    success_rate: float | None = None
    """None where the environment does not say."""
    score_episodes: int = 0
    """Evaluation episodes of each score, on seeds and layouts that are never recorded."""
    random_score: float | None = None
    """Mean return of random actions; None where it was not measured."""
    expert_score: float | None = None
    """Mean return of the expert without noise; None where it was not measured."""
    size: int
    """Bytes of ``main_data.hdf5``."""
    sha256: str
    """Of ``main_data.hdf5``."""
    merged_from: tuple[Source, ...] = ()
    command: str = field(default_factory=command_line)
    versions: Mapping[str, str] = field(default_factory=versions)
    git: str | None = field(default_factory=git_commit)

    def __post_init__(self) -> None:
        """Refuse an environment that is not described as one."""
        env = self.env or {}
        kwargs, told = env.get("kwargs", {}), (env.get("id", ""), env.get("engine") or "")
        if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in told):
            raise RobolearnError(f"env must have an id, an engine and kwargs, got {shown(env)}.")

    def config(self, outside: Path | None = None) -> EnvConfig | None:
        """Return where it was recorded, None where nobody knows.

        Args:
            outside: Folder of the set; see :func:`robolearn.environments.described`.

        Raises:
            RobolearnError: An environment unknown here, or one that would read other files.
        """
        return described(self.env, outside=outside)

    def text(self) -> str:
        """Return what the file holds."""
        return json.dumps(to_dict(self), indent=2) + "\n"

    def readme(self) -> str:
        """Return a page about the set."""
        rows = [f"| {name} | {_cell(figure)} |" for name, figure in self.table()]
        return "\n".join(
            [
                f"# {self.name}",
                "",
                "Demonstrations, recorded with robolearn as a Minari dataset.",
                "",
                "| what | |",
                "|---|---|",
                *rows,
                "",
                "Load it with robolearn:",
                "",
                "```python",
                "from robolearn.imitation.demos.storage import read_demos",
                "",
                f'demos = read_demos("{self.name}")  # path of this folder',
                "```",
                "",
                "or with plain Minari, where `MINARI_DATASETS_PATH` names the folder above:",
                "",
                "```python",
                "import minari",
                "",
                f'dataset = minari.load_dataset("{self.name}")',
                "```",
                "",
                "Made with:",
                "",
                "```",
                self.command,
                "```",
                "",
            ]
        )

    def table(self) -> Sequence[tuple[str, str]]:
        """Return everything on the card as names and words."""
        env = self.env or {}
        settings = ", ".join(f"{name} {value}" for name, value in env.get("kwargs", {}).items())
        parameters = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        merged = ", ".join(
            f"{one.name} ({one.episodes} episodes, sha256 {one.sha256[:12]})"
            for one in self.merged_from
        )
        stopped = f" of {self.asked} asked for" if self.asked != self.episodes else ""
        told = [
            ("environment", env.get("id") or "unknown"),
            ("engine", env.get("engine") or "-"),
            ("settings", settings or "-"),
            ("step", "-" if self.dt is None else f"{self.dt:g} s"),
            ("expert", self.expert),
            ("its parameters", parameters or "-"),
            ("noise", "-" if self.noise is None else f"{self.noise:g}"),
            ("seed", "-" if self.seed is None else str(self.seed)),
            ("episodes", f"{self.episodes}{stopped}"),
            ("steps", f"{self.steps:,}"),
            ("return", self.returns()),
            ("success", "-" if self.success_rate is None else f"{self.success_rate:.0%}"),
            ("score of the expert", self._score(self.expert_score)),
            ("score of random actions", self._score(self.random_score)),
            ("merged from", merged or "-"),
            ("data", f"{self.size:,} bytes, sha256 {self.sha256}"),
            ("command", self.command),
            ("versions", ", ".join(f"{name} {one}" for name, one in self.versions.items())),
            ("source", self.git or "-"),
        ]
        return told

    def returns(self) -> str:
        """Return mean, least and largest return in words."""
        return f"{self.mean_return:.1f} ({self.min_return:.1f} to {self.max_return:.1f})"

    def _score(self, score: float | None) -> str:
        behind = f"mean of {self.score_episodes} evaluation episodes"
        return "-" if score is None else f"{score:.1f}, {behind}"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def plain_env(env: EnvConfig | None) -> dict[str, Any] | None:
    """Return an environment as cards have it."""
    if env is None:
        return None
    return {"id": env.id, "engine": env.engine, "kwargs": to_dict(env)["kwargs"]}


def read_card(path: Path) -> Card:
    """Return the card in a file.

    Raises:
        RobolearnError: Unreadable, another schema, or something in it cannot be.
    """
    data = read_json(path, _LARGEST)
    if data.get("schema") != SCHEMA:
        raise RobolearnError(
            f"{path}: schema is {shown(data.get('schema'))}, expected {SCHEMA}. "
            "Use the version of robolearn that wrote it."
        )
    try:
        return from_dict(Card, data)
    except RobolearnError as error:
        raise RobolearnError(f"{path}: {error}") from error
