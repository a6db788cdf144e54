"""Runs that begin with demonstrations: read, pretrained by, and gone on with by reinforcement."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from robolearn.agents import agent_class
from robolearn.agents.protocols import TrainingUpdate
from robolearn.config import from_dict, to_dict
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.imitation.clone import CloneConfig, clone
from robolearn.imitation.dagger import DAggerConfig, dagger
from robolearn.imitation.defaults import imitating
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.experts import expert_named
from robolearn.imitation.demos.mirror import with_mirrored
from robolearn.imitation.demos.storage import read_demos, require_for
from robolearn.imitation.fitting import Choice
from robolearn.imitation.jump_start import JumpStart, JumpStartConfig
from robolearn.imitation.pretrain import PretrainConfig, add_demonstrations, pretrain
from robolearn.runs.run import claim_folder
from robolearn.session import TrainConfig, TrainResult
from robolearn.train import carry_out
from robolearn_envs.names import did_you_mean

Name = Literal["bc", "dagger", "ppo", "dqfd", "mixed", "sqil", "jump-start"]
Reports = Iterator[TrainingUpdate]


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """Settings of a learner that has none of its own."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way to learn from demonstrations."""

    agent: str
    """Name of the agent that learns."""
    settings: type[Any]
    """Class of what can be set of it."""
    says: str
    """What it does, in a few words."""


LEARNERS: dict[str, Kind] = {
    "bc": Kind(agent="ppo", settings=CloneConfig, says="behavioral cloning"),
    "dagger": Kind(agent="ppo", settings=DAggerConfig, says="cloning, the expert asked anew"),
    "ppo": Kind(agent="ppo", settings=CloneConfig, says="cloning, then PPO that does not unlearn"),
    "dqfd": Kind(agent="dqfd", settings=PretrainConfig, says="DQN pretrained by demonstrations"),
    "mixed": Kind(
        agent="dqfd", settings=NoSettings, says="DQN, half of each minibatch demonstrated"
    ),
    "sqil": Kind(
        agent="dqfd", settings=NoSettings, says="DQN with rewards 1 for demonstrations, else 0"
    ),
    "jump-start": Kind(agent="dqn", settings=JumpStartConfig, says="DQN, led by the expert first"),
}
"""By name."""


def learner(name: str) -> Kind:
    """Return a way to learn from demonstrations.

    Raises:
        RobolearnError: None of that name.
    """
    if name not in LEARNERS:
        raise RobolearnError(did_you_mean("learner", name, LEARNERS))
    return LEARNERS[name]


@dataclass(frozen=True, kw_only=True)
class ImitateConfig:
    """A run that begins with demonstrations."""

    learner: str
    """One of ``LEARNERS``."""
    demos: Path
    """The set."""
    run: Path
    """Folder of the run; must not hold one yet."""
    env: EnvConfig | None = None
    """Where to learn; None for where the demonstrations were recorded."""
    episodes: int | None = None
    """The first so many demonstrations; None for all."""
    mirror: bool = True
    """Learn from their mirror images, too, where the environment is as good in a mirror."""
    expert: str = "expert"
    """Who is asked (DAgger), or leads (jump-start): a name, or the folder of an agent's run."""
    steps: int = 0
    """Environment steps of reinforcement learning after the pretraining."""
    seed: int = 0
    device: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the learner; see its class."""
    hyper: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the agent, over what suits learner and environment."""
    eval_every: int = 0
    eval_episodes: int = 20
    test_episodes: int = 100
    save_every: int = 0
    video_every: int = 0


def imitate(config: ImitateConfig, demos: Demonstrations | None = None) -> TrainResult:
    """Learn from demonstrations, go on by reinforcement learning, and leave a run folder behind.

    Args:
        config: Of the run.
        demos: What ``config.demos`` names, where it was read already; None reads it.

    Raises:
        RobolearnError: Demonstrations that cannot be read or are of something else, or something
            in the config that cannot be; nothing was written.
        DivergedError: A number or a simulation stopped being finite.
        SaveError: The last checkpoint could not be written.
    """
    kind = learner(config.learner)
    settings = from_dict(kind.settings, config.settings)
    demos = demos or read_demos(config.demos, episodes=config.episodes)
    env = config.env or demos.env
    if env is None:
        raise RobolearnError(f"{demos.name} does not say where it was recorded: add --env ID.")
    require_for(demos, TrainingEnvs.of(env, None, {}))
    recorded = len(demos.episodes)
    if config.mirror:
        demos = with_mirrored(demos)
    trained = TrainConfig(
        agent=kind.agent,
        env=env,
        steps=config.steps,
        run=config.run,
        seed=config.seed,
        device=config.device,
        hyper=_hyper(kind, config, env, demos),
        eval_every=config.eval_every,
        eval_episodes=config.eval_episodes,
        test_episodes=config.test_episodes,
        save_every=config.save_every,
        video_every=config.video_every,
        pretrained=f"{config.learner} {config.demos}",
    )
    agent, told, follow = prepared(config, demos, trained, settings)
    told["learned_parameters"] = learned_parameters(agent)
    facts = {
        "learner": config.learner,
        "demos": str(config.demos),
        "settings": asdict(settings),
        "episodes": recorded,
        "demonstrated_return": float(demos.returns.mean()),
    }
    return carry_out(agent, trained, {**facts, **told}, follow)


def learned_parameters(agent: Any) -> int:
    """Return how many numbers of what acts are learned: no critics, no target networks."""
    acts = (agent.net.encoder, agent.net.policy, agent.net.head) if agent.name == "ppo" else ()
    parts = acts or (agent.online,)
    return sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)


def _hyper(
    kind: Kind, config: ImitateConfig, env: EnvConfig, demos: Demonstrations
) -> dict[str, Any]:
    """Return all hyper-parameters of the agent."""
    usual = agent_class(kind.agent).Config(**imitating(config.learner, kind.agent, env.id))
    unknown = set(config.hyper) - {one.name for one in fields(usual)}
    if unknown:
        raise RobolearnError(
            did_you_mean("hyper-parameter", min(unknown), [one.name for one in fields(usual)])
        )
    chosen = {**to_dict(usual), **config.hyper}
    if chosen.get("num_demo_transitions"):
        raise RobolearnError(
            "num_demo_transitions is the number of steps of the dataset, got "
            f"{chosen['num_demo_transitions']}. Leave it out."
        )
    if kind.agent == "dqfd":
        chosen["num_demo_transitions"] = sum(map(len, demos.episodes))
    return chosen


def prepared(
    config: ImitateConfig, demos: Demonstrations, trained: TrainConfig, settings: Any
) -> tuple[Any, dict[str, Any], Callable[[Reports], Reports]]:
    """Return the agent, pretrained; what there is to tell of that; and what follows its reports.

    Raises:
        RobolearnError: Demonstrations of something else, a run that is there already, or an expert
            nobody knows.
    """
    cls = agent_class(trained.agent)
    agent = cls(
        trained.env,
        from_dict(cls.Config, trained.hyper),
        seed=config.seed,
        device=config.device,
    )
    try:
        claim_folder(config.run, "run")
        told, follow = _pretrained(agent, config, demos, settings)
    except BaseException:
        agent.close()
        if config.run.is_dir() and not any(config.run.iterdir()):
            config.run.rmdir()
        raise
    return agent, told, follow


def _pretrained(
    agent: Any, config: ImitateConfig, demos: Demonstrations, settings: Any
) -> tuple[dict[str, Any], Callable[[Reports], Reports]]:
    where = agent.envs.config
    if config.learner in ("bc", "ppo"):
        return _curve(clone(agent, demos.steps(), settings, config.seed)), _alone
    if config.learner == "dagger":
        expert = expert_named(config.expert, where)
        choice, shown = dagger(
            agent,
            lambda envs: expert.make(envs, config.seed),
            settings,
            where,
            config.seed,
            shown=demos.steps(),
        )
        asked = len(shown.obs) - sum(map(len, demos.episodes))
        return {"asked": asked, **_curve(choice)}, _alone
    if config.learner == "jump-start":
        longest = max(map(len, demos.episodes))
        expert = expert_named(config.expert, where)
        guide = JumpStart(
            expert.make(agent.collector.envs, config.seed),
            settings.horizon or longest,
            float(demos.returns.mean()),
            settings,
        )
        agent.guide = guide
        return {"horizon": guide.horizon}, guide.follow
    add_demonstrations(agent, demos.steps())
    if config.learner == "dqfd":
        return _curve(pretrain(agent, settings, where.held_out("val"))), _alone
    return {}, _alone


def _alone(reports: Reports) -> Reports:
    return reports


def _curve(choice: Choice) -> dict[str, Any]:
    return {"score": choice.score, "updates": choice.update, "curve": choice.curve}
