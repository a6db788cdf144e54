"""Making environments: ours by name, or any that Gymnasium knows."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, Union

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from robolearn.collect.collector import Collector
from robolearn.collect.device_collector import AnyCollector, DeviceCollector
from robolearn.config import check_ranges, from_dict, to_dict
from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn.making import (
    import_env_module,
    import_trusted,
    make_foreign,
    make_native,
    refusals,
)
from robolearn.snapshots import Rewindable
from robolearn.spaces_json import space_from_json, space_to_json
from robolearn.workers.vector import FaultTolerantVectorEnv
from robolearn_envs.engines import DEVICE_ENGINES, HOST_EQUIVALENT
from robolearn_envs.names import did_you_mean
from robolearn_envs.registry import (
    is_registered,
    keyword_names,
    max_episode_steps_of,
    supported_engines,
    task_of,
)
from robolearn_envs.torch_vector import TorchVectorEnv
from robolearn_envs.vector import ON_DIVERGENCE, OnDivergence, RoboVectorEnv

SEED_SPACING = 10_000
"""Seeds of training environments that belong to one seed of an agent with at most as many."""
_MOST_ENVS = 2**20
"""Training environments of an agent, at most."""
_LARGE = 2**40
"""Seeds from here on are for trainings with more than ``SEED_SPACING`` environments."""
_MOST_WORKERS = 256
HELD_OUT = 1_000_000_000
"""Seeds from here on, up to 2**40, are for evaluation; no training environment has one."""


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """Which environment: everything needed to make it again."""

    id: str
    """Gymnasium id, or ``module:id`` with the module that registers it, which is imported."""
    engine: str | None = None
    """Physics engine of a robolearn environment; None for its default."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the environment, e.g. action, domain_randomization."""
    num_workers: int = 0
    """Worker processes that step a batch of environments; 0 steps it in this process. Workers pay
    off where a step is slow, as with Bullet, and isolate a crash or a hang of an environment."""
    step_timeout: float = 60.0
    """Seconds after which a worker that has not answered is replaced by another one."""
    on_divergence: OnDivergence = "raise"
    """Response to a simulation that diverges: raise ends the training, truncate begins a new
    episode."""

    def __post_init__(self) -> None:
        """Refuse an id nobody knows, an engine for a foreign environment, senseless numbers."""
        check_ranges(self, {"num_workers": (0, _MOST_WORKERS), "step_timeout": (0.01, math.inf)})
        if self.on_divergence not in ON_DIVERGENCE:
            raise RobolearnError(did_you_mean("on_divergence", self.on_divergence, ON_DIVERGENCE))
        if import_env_module(self.id) not in gym.registry:
            raise RobolearnError(did_you_mean("environment", self.id, gym.registry))
        if self.engine is not None and not self.native:
            raise RobolearnError(
                f"'{self.id}' has no engines to choose from, got engine='{self.engine}'. "
                "Leave the engine out."
            )
        if self.on_device:
            there = [e for e in supported_engines(task_of(self.id)) if e in DEVICE_ENGINES]
            if self.engine not in there:
                raise RobolearnError(
                    f"{self.id} does not run on engine '{self.engine}'; of those on a device it "
                    f"runs on {' and '.join(there) or 'none'}."
                )

    @property
    def native(self) -> bool:
        """Whether this is a registered task with physics, made as a native batch."""
        return is_registered(self.id)

    @property
    def on_device(self) -> bool:
        """Whether it is stepped on the learner's device, instead of on the host."""
        return self.engine in DEVICE_ENGINES

    def on_host(self) -> "EnvConfig":
        """Return the environment that moves alike on the host."""
        return replace(self, engine=HOST_EQUIVALENT[self.engine or ""]) if self.on_device else self

    def held_out(self, split: str) -> "EnvConfig":
        """Return the environment to measure an agent in: with layouts it has not trained on.

        Args:
            split: 'val' for choosing an agent, 'test' for judging the chosen one.
        """
        if not self.native or "split" not in keyword_names(task_of(self.id)):
            return self
        kept = {name: value for name, value in self.kwargs.items() if name != "curriculum"}
        return replace(self, kwargs={**kept, "split": split})

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that Gymnasium makes the environment on the host with."""
        engine = self.on_host().engine
        return {**self.kwargs, **({"engine": engine} if engine is not None else {})}

    def make(self, **options: Any) -> gym.Env:
        """Return a single environment.

        Args:
            **options: ``render_mode``; for our environments ``view``, ``width`` and ``height``.

        Raises:
            RobolearnError: The environment refuses its arguments.
        """
        with refusals():
            return gym.make(self.id, **self.arguments(), **options)

    def make_on_device(
        self, num_envs: int, device: str | torch.device, *, fuse: bool = False
    ) -> TorchVectorEnv:
        """Return a batch on a device, in autoreset mode SAME_STEP.

        Args:
            num_envs: N.
            device: A torch device.
            fuse: Compile its step, where the engine can be.

        Raises:
            RobolearnError: The environment refuses its arguments.
        """
        if self.num_workers:
            raise RobolearnError(
                f"Engine '{self.engine}' steps batches by itself, got "
                f"num_workers={self.num_workers}. Leave num_workers out."
            )
        with refusals():
            return TorchVectorEnv(
                self.id,
                num_envs,
                engine=self.engine or "torch",
                device=device,
                compile_step=fuse and self.engine == "torch",
                autoreset_mode=AutoresetMode.SAME_STEP,
                **self.kwargs,
            )

    def make_vec(self, num_envs: int, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> VectorEnv:
        """Return a batch on the host: ours natively, a foreign one as Gymnasium's synchronous one.

        Raises:
            RobolearnError: The environment refuses its arguments, or the mode is another one than
                SAME_STEP with workers.
        """
        how: dict[str, Any] = {"autoreset_mode": mode}
        if self.native:
            how["on_divergence"] = self.on_divergence
        kind = make_native if self.native else make_foreign
        make = partial(kind, self.id, how, self.arguments())
        if not self.num_workers:
            return make(num_envs)
        if mode is not AutoresetMode.SAME_STEP:
            raise RobolearnError(f"Workers need autoreset mode SAME_STEP, got {mode.name}.")
        return FaultTolerantVectorEnv(
            make, num_envs, self.num_workers, step_timeout=self.step_timeout
        )


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield all strings in mappings and lists, and the key they are under."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item, name)


def described(data: Mapping[str, Any] | None, *, outside: Path | None = None) -> EnvConfig | None:
    """Return the config that a file describes, None where it describes none.

    Args:
        data: The description.
        outside: Folder of the file: the module of an id ``module:id`` is imported, but not out of
            this folder. None imports no module.

    Raises:
        RobolearnError: Not a description, or one that would have other files read.
    """
    if data is None:
        return None
    env_id = data.get("id") if isinstance(data, Mapping) else None
    module = env_id.rpartition(":")[0] if isinstance(env_id, str) else ""
    if module and module not in sys.modules:
        if outside is not None:
            import_trusted(module, outside)
            return described(data)
        raise RobolearnError(
            f"The environment {shown(env_id)} is registered by a module that is not imported. "
            "A file cannot have it imported: import it before loading."
        )
    config = from_dict(EnvConfig, data)
    if "render_mode" in config.kwargs:
        raise RobolearnError("kwargs of the environment: render_mode is for who makes it to say.")
    for name, value in _strings(config.kwargs):
        if "/" in value or "\\" in value or ".." in value:
            raise RobolearnError(
                f"kwargs of the environment: {name} is {value!r}, expected no path: what is loaded "
                "names no files. Load it with environments of your own: load(env=...)."
            )
    return config


def is_known(env_id: str, outside: Path | None) -> bool:
    """Return whether an id is registered, once its module has been imported."""
    module, _, bare_id = env_id.rpartition(":")
    if bare_id in gym.registry or not module:
        return bare_id in gym.registry
    try:
        import_trusted(module, outside)
    except RobolearnError:
        return False  # who only acts needs no environment
    return bare_id in gym.registry


def _time_limit(envs: VectorEnv, config: EnvConfig | None) -> int:
    """Return after how many steps an episode is truncated; 0 where no single one can be cut."""
    base = envs.unwrapped
    if config is not None and config.native:
        return config.kwargs.get("max_episode_steps", max_episode_steps_of(config.id))
    if isinstance(base, RoboVectorEnv):
        return base.task.max_episode_steps
    if isinstance(base, SyncVectorEnv | FaultTolerantVectorEnv) and base.spec:
        return base.spec.max_episode_steps or 0
    return 0  # others need not honor a reset mask


def _make_env(factory: Callable[[], gym.Env]) -> gym.Env:
    """Return a factory's environment.

    Raises:
        RobolearnError: It returns something else.
    """
    made = factory()
    if not isinstance(made, gym.Env):
        raise RobolearnError(
            f"The function given as env must return a gymnasium.Env, got {type(made).__name__}."
        )
    return made


def _vectorize_object(env: gym.Env) -> SyncVectorEnv:
    """Return an environment object as a batch of one."""
    return SyncVectorEnv([lambda: Rewindable(env)], autoreset_mode=AutoresetMode.SAME_STEP)


def _vectorize_factory(factory: Callable[[], gym.Env], num_envs: int) -> SyncVectorEnv:
    """Return as many environments as asked for, stepped one after the other.

    Raises:
        RobolearnError: The factory returns something else, or the same environment again.
    """
    made = [_make_env(factory) for _ in range(num_envs)]
    if len({id(env) for env in made}) < num_envs:
        raise RobolearnError(
            "The function given as env returned the same environment twice: it must make a new one "
            "at each call. One environment alone is given itself."
        )
    envs = SyncVectorEnv(
        [partial(Rewindable, env) for env in made], autoreset_mode=AutoresetMode.SAME_STEP
    )
    envs.spec = made[0].spec  # the time limit
    return envs


def check_seed(seed: int) -> None:
    """Refuse seeds whose training environments would not have seeds of their own.

    Raises:
        RobolearnError: Not in 0..99999.
    """
    if not 0 <= seed < HELD_OUT // SEED_SPACING:
        raise RobolearnError(f"seed must lie in 0..{HELD_OUT // SEED_SPACING - 1}, got {seed}.")


def first_seed(seed: int, num_envs: int) -> int:
    """Return the seed of an agent's first training environment; the others have the next ones.

    Agents with other seeds have other ones, whatever their numbers of environments. Seeds of up to
    ``SEED_SPACING`` environments are below ``HELD_OUT``, which fits in 32 bits.

    Args:
        seed: Of the agent.
        num_envs: Its environments.

    Raises:
        RobolearnError: A seed out of range, or more than 2**20 environments.
    """
    check_seed(seed)
    if num_envs > _MOST_ENVS:
        raise RobolearnError(f"num_envs must be at most {_MOST_ENVS}, got {num_envs}.")
    return SEED_SPACING * seed if num_envs <= SEED_SPACING else _LARGE + _MOST_ENVS * seed


Env: TypeAlias = Union[str, EnvConfig, gym.Env, VectorEnv, Callable[[], gym.Env], "TrainingEnvs"]
"""What an agent takes: a Gymnasium id, a config, an environment object, a vector environment, or a
factory, which returns a new environment at each call."""


class TrainingEnvs:
    """An agent's environments: made when learning begins, or given ready-made."""

    def __init__(
        self,
        config: EnvConfig | None,
        observation_space: gym.Space,
        action_space: gym.Space,
        envs: VectorEnv | None = None,
        factory: Callable[[], gym.Env] | None = None,
        unregistered: Mapping[str, Any] | None = None,
    ) -> None:
        """Describe the environments.

        Args:
            config: How to make them; None where ``envs`` are given or nobody knows how.
            observation_space: Of a single one.
            action_space: Of a single one.
            envs: Ready-made ones.
            factory: Returns a new one at each call.
            unregistered: Description of an environment whose id is not registered here.
        """
        self.config = config
        self._factory = factory
        self._unregistered = unregistered
        self.observation_space, self.action_space = observation_space, action_space
        self._envs: VectorEnv | TorchVectorEnv | None = envs
        self._collector: AnyCollector | None = None

    @classmethod
    def of(
        cls,
        env: Env,
        engine: str | None,
        kwargs: Mapping[str, Any],
    ) -> "TrainingEnvs":
        """Return the environments a caller means.

        Args:
            env: See :data:`Env`. One environment object is used as a batch of one.
            engine: Physics engine, for an id.
            kwargs: Keyword arguments of the environment, for an id.

        Raises:
            RobolearnError: Neither of these, or arguments without an id.
        """
        if not isinstance(env, str) and (engine is not None or kwargs):
            asked = ", ".join([*kwargs] + ["engine"] * (engine is not None))
            raise RobolearnError(
                f"{asked} can only be given with an environment's id; put it into the "
                f"{type(env).__name__} instead."
            )
        if isinstance(env, TrainingEnvs):
            return env
        if isinstance(env, VectorEnv):
            return cls(None, env.single_observation_space, env.single_action_space, env)
        if isinstance(env, gym.Env):
            return cls(None, env.observation_space, env.action_space, _vectorize_object(env))
        config = EnvConfig(id=env, engine=engine, kwargs=kwargs) if isinstance(env, str) else env
        if isinstance(config, EnvConfig):
            single, factory = config.make(), None
        elif callable(config):
            single, factory = _make_env(config), config
            config = None
        else:
            raise RobolearnError(
                "env must be a Gymnasium id, an EnvConfig, an environment, a vector environment or "
                f"a function that returns an environment, got {config!r}."
            )
        try:
            return cls(config, single.observation_space, single.action_space, factory=factory)
        finally:
            single.close()

    @property
    def id(self) -> str | None:
        """The Gymnasium id, where it is known."""
        return self.config.id if self.config else None

    @property
    def native(self) -> bool:
        """Whether these are robolearn environments made by name."""
        return self.config is not None and self.config.native

    @property
    def engine(self) -> str | None:
        """The physics engine asked for."""
        return self.config.engine if self.config else None

    @property
    def on_device(self) -> bool:
        """Whether they are stepped on the learner's device."""
        return self.config is not None and self.config.on_device

    def collector(
        self, num_envs: int, seed: int, device: str | torch.device = "cpu", *, fuse: bool = False
    ) -> AnyCollector:
        """Return the one collector, made and seeded at the first call.

        Environment i is seeded ``first_seed(seed, num_envs) + i``, so that trainings with seeds 0,
        1, ... share no environment's stream.

        Args:
            num_envs: How many.
            seed: Of the agent.
            device: Where engines on a device are to be.
            fuse: Compile their step.

        Raises:
            RobolearnError: A seed out of range, too many environments or such that cannot be made,
                or a loaded agent whose environments nobody knows how to make.
        """
        if self._collector is None:
            on_divergence = self.config.on_divergence if self.config else "raise"
            first = first_seed(seed, num_envs)
            if self.config is not None and self.on_device:
                envs = self._envs = self.config.make_on_device(num_envs, device, fuse=fuse)
                limit = envs.task.max_episode_steps
                self._collector = DeviceCollector(
                    envs, first, stagger=limit, on_divergence=on_divergence
                )
                return self._collector
            if self._envs is None:
                if self._factory is not None:
                    self._envs = _vectorize_factory(self._factory, num_envs)
                elif self.config is None:
                    raise RobolearnError(
                        f"{self._why_unknown} To go on learning, give it to load(folder, env=...)."
                    )
                else:
                    self._envs = self.config.make_vec(num_envs)
            stagger = _time_limit(self._envs, self.config)
            self._collector = Collector(
                self._envs, first, stagger=stagger, on_divergence=on_divergence
            )
        return self._collector

    def elsewhere(
        self, env_id: str | None, engine: str | None, changes: Mapping[str, Any]
    ) -> EnvConfig:
        """Return where the agent is to act: its own environment, changed as asked.

        On the layouts of the test split, unless another is asked for.

        Args:
            env_id: Another id, None for the same.
            engine: Another engine, None for the same.
            changes: Other keyword arguments of the environment.

        Raises:
            RobolearnError: Spaces that do not fit the agent, or nothing to go by.
        """
        if self.config is None and env_id is None:
            raise RobolearnError(f"{self._why_unknown} Say where it is to act with --env ID.")
        own = self.config.on_host() if self.config else EnvConfig(id=env_id or "")
        kept, kept_engine = own.kwargs, own.engine
        if env_id is not None and env_id != own.id:  # what the other one has no use for is left
            task = task_of(env_id) if is_registered(env_id) else None
            common = "action", "domain_randomization"
            usable = {*keyword_names(task), *common} - {"robot"} if task else set()
            kept = {name: value for name, value in own.kwargs.items() if name in usable}
            kept_engine = own.engine if task and own.engine in supported_engines(task) else None
        config = EnvConfig(
            id=env_id or own.id, engine=engine or kept_engine, kwargs={**kept, **changes}
        )
        config = config.held_out(changes.get("split", "test"))
        self.require_same_spaces(TrainingEnvs.of(config, None, {}), config.id)
        return config.on_host()

    def require_same_spaces(self, there: "TrainingEnvs", name: str) -> None:
        """Refuse other environments that an agent of these cannot act in.

        Args:
            there: The other ones.
            name: Of them, for the message.

        Raises:
            RobolearnError: Other spaces.
        """
        for kind in ("observation_space", "action_space"):
            ours, theirs = getattr(self, kind), getattr(there, kind)
            if ours != theirs:
                raise RobolearnError(
                    f"The agent does not fit {name}: its {kind} is {ours}, there it is {theirs}."
                )

    @property
    def _why_unknown(self) -> str:
        """Why nobody knows how to make the environments."""
        if self._unregistered is None:
            return "This agent was trained on an environment object, and loaded without one."
        return (
            f"This agent was trained on {shown(self._unregistered['id'])}, which is not registered "
            "here: import the module that registers it before loading."
        )

    def batch_size(self, asked: int | None) -> int | None:
        """Return the number of environments: that of ready-made ones, else ``asked``.

        Raises:
            RobolearnError: Another number was asked for than there are.
        """
        if self._envs is None:
            return asked
        there = self._envs.num_envs
        if asked not in (None, there):
            raise RobolearnError(
                f"num_envs must be {there}, as many as were given, got {asked}. To have copies "
                "made, give a function that returns an environment."
            )
        return there

    def to_json(self) -> dict[str, Any]:
        """Return a description ``from_json`` reads back."""
        config = self.config
        return {
            "env": to_dict(config) if config else self._unregistered,
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, outside: Path | None = None) -> "TrainingEnvs":
        """Return the environments described; nothing is made yet, and an id may be unknown here.

        Args:
            data: What ``to_json`` returned.
            outside: Folder whose files hold the description: the module of an id ``module:id`` is
                imported, but not out of this folder.

        Raises:
            RobolearnError: Not a description, or one that would have other files read.
        """
        env = data["env"]
        observation_space = space_from_json(data["observation_space"])
        action_space = space_from_json(data["action_space"])
        env_id = env.get("id") if isinstance(env, Mapping) else None
        known = isinstance(env_id, str) and is_known(env_id, outside)
        if isinstance(env_id, str) and not known:
            return cls(None, observation_space, action_space, unregistered=env)
        return cls(described(env, outside=outside), observation_space, action_space)

    def close(self) -> None:
        """Close the environments if they were made."""
        if self._envs is not None:
            self._envs.close()
