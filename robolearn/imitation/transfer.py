"""Carrying over what an agent has learned: into a changed environment, as an adapter, as eyes."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.config import from_dict, to_dict
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.files import fitting
from robolearn.networks.actor_critic import ActorCritic
from robolearn.networks.adapters import Adapter, adapter_state, frozen_state, merge
from robolearn.runs.checkpoint import read_checkpoint, write_checkpoint

NETWORK = (
    "hidden_sizes",
    "activation",
    "log_scale_obs",
    "gru_hidden_size",
    "cnn_features_dim",
    "state_dependent_std",
    "squash_output",
    "normalize_obs",
    "normalize_value",
)
"""Hyper-parameters without which the weights of a network mean nothing."""


def fine_tuned(
    base: PPO,
    env: str | EnvConfig | TrainingEnvs,
    *,
    adapter: Adapter = "none",
    rank: int = 4,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> PPO:
    """Return an agent, still to learn, that begins with what another one knows.

    Policy, critic, memory and normalizers are copied; the optimizer begins anew.

    Args:
        base: The other one, which stays as it is. A low-rank adapter of its own becomes part of
            its weights.
        env: Where to learn: the same spaces, but another robot, engine or level.
        adapter: What of the policy is to be learned.
        rank: Of the adapter.
        changes: Hyper-parameters other than the base's, but none that shape networks.
        seed: Of the new agent.

    Raises:
        RobolearnError: Other spaces, other networks, an unknown hyper-parameter, or a base with
            bottlenecks.
    """
    changed = dict(changes or {})
    for name in NETWORK:
        if name in changed and changed[name] != getattr(base.config, name):
            raise RobolearnError(
                f"{name}={changed[name]} makes another network than the base's, whose {name} is "
                f"{getattr(base.config, name)}. Leave it out."
            )
    own = to_dict(base.config) | changed | {"adapter": adapter, "adapter_rank": rank}
    envs = TrainingEnvs.of(env, None, {})
    require_same_spaces(base.envs, envs)
    agent = PPO(envs, from_dict(PPOConfig, own), seed=seed, device=str(base.device))
    agent.net.load_state_dict(plain_state(base.net), strict=False)  # all but an adapter's own
    agent.set_reference_policy()
    return agent


def require_same_spaces(one: TrainingEnvs, other: TrainingEnvs) -> None:
    """Make sure that what is learned in environments can be used in others.

    Raises:
        RobolearnError: They have other spaces.
    """
    for name in ("observation_space", "action_space"):
        ours, theirs = getattr(one, name), getattr(other, name)
        if ours != theirs:
            raise RobolearnError(
                f"Agents of {one.id} do not fit {other.id}: its {name} is {theirs}, theirs is "
                f"{ours}."
            )


def plain_state(net: ActorCritic) -> dict[str, Tensor]:
    """Return the state of networks as it is without an adapter: what it learned is merged.

    Raises:
        RobolearnError: It has bottlenecks.
    """
    rest = {n: held for n, held in net.state_dict().items() if not n.startswith("policy.")}
    policy = merge(net.policy).state_dict()
    return rest | {f"policy.{name}": held for name, held in policy.items()}


def merged(agent: PPO) -> PPO:
    """Return an agent without an adapter that acts as one with it does.

    Raises:
        RobolearnError: It has bottlenecks.
    """
    plain = fine_tuned(agent, agent.envs.config or agent.envs, seed=agent.seed)
    plain.steps = agent.steps
    return plain


def learned_state(net: ActorCritic) -> dict[str, Tensor]:
    """Return what is learned of what acts, by name; not copied."""
    parts = {"policy": net.policy, "head": net.head}
    return {
        f"{part}.{name}": held
        for part, module in parts.items()
        for name, held in adapter_state(module).items()
    }


def base_digest(net: ActorCritic) -> str:
    """Return a sha256 of what an adapter leaves as it is: names, shapes and numbers."""
    modules = {"encoder": net.encoder, "memory": net.memory, "policy": net.policy}
    digest = hashlib.sha256()
    for part, module in modules.items():
        for name, held in sorted(frozen_state(module).items() if module is not None else ()):
            digest.update(f"{part}.{name} {tuple(held.shape)} {held.dtype}\n".encode())
            digest.update(held.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_adapter(agent: PPO, folder: str | Path) -> None:
    """Write what an adapter has learned, and nothing of its base but a sha256.

    Args:
        agent: Has an adapter.
        folder: Where to; an adapter already there is replaced.

    Raises:
        RobolearnError: It has none.
    """
    if agent.config.adapter == "none":
        raise RobolearnError(
            "The agent has no adapter, all of its policy is learned. Save it with agent.save."
        )
    state = {
        "adapter": agent.config.adapter,
        "rank": agent.config.adapter_rank,
        "base": base_digest(agent.net),
        **agent.envs.to_json(),
    }
    write_checkpoint(Path(folder), state, {"adapter": learned_state(agent.net)})


def load_adapter(base: PPO, folder: str | Path) -> PPO:
    """Return the agent that an adapter makes of its base; its critic is the base's.

    Args:
        base: What the adapter was learned on top of.
        folder: What ``save_adapter`` wrote.

    Raises:
        RobolearnError: No adapter there, a damaged one, or one of another base.
    """
    folder = Path(folder)
    state, tensors = read_checkpoint(folder)
    if not {"adapter", "rank", "base"} <= state.keys():
        raise RobolearnError(f"{folder} holds no adapter, but {state.get('agent', 'something')!r}.")
    with fitting(folder):
        told = {"adapter": state["adapter"], "adapter_rank": state["rank"]}
        asked = from_dict(PPOConfig, to_dict(base.config) | told)
        learned = tensors["adapter"]
        sizes = {side for held in learned.values() for side in held.shape}
        if asked.adapter in ("lora", "bottleneck") and asked.adapter_rank not in sizes:
            raise ValueError(f"it has no rank {asked.adapter_rank}")  # before so much is made
        envs = TrainingEnvs.from_json(state)
    agent = fine_tuned(base, envs, adapter=asked.adapter, rank=asked.adapter_rank, seed=base.seed)
    found = base_digest(agent.net)
    if found != state["base"]:
        raise RobolearnError(
            f"{folder} was learned on top of another agent: the weights it leaves as they are "
            f"have sha256 {str(state['base'])[:12]}, those of this agent {found[:12]}."
        )
    with fitting(folder):
        expected = learned_state(agent.net)
        if learned.keys() != expected.keys():
            raise ValueError(f"it holds {sorted(learned)}, expected {sorted(expected)}")
        agent.net.load_state_dict(learned, strict=False)
    agent.set_reference_policy()
    return agent


def use_encoder(agent: PPO, donor: PPO, *, freeze: bool) -> PPO:
    """Return an agent that looks at images as another one learned to.

    Args:
        agent: Gives all but that: environments, hyper-parameters and weights. It is to be used no
            more, for the environments are the same ones.
        donor: Gives the encoders of images, which both must have alike.
        freeze: Leave the encoders as they are.

    Raises:
        RobolearnError: The encoders differ, or there is none.
    """
    eyes = donor.net.encoder.images.state_dict()
    theirs, ours = _shapes(eyes), _shapes(agent.net.encoder.images.state_dict())
    if ours != theirs or not ours:
        raise RobolearnError(
            f"The agent cannot use the donor's encoders of images: {_layers(theirs)} there, "
            f"{_layers(ours)} here. Both need images of one size, and equal features."
        )
    config = replace(agent.config, freeze_encoder=freeze)
    seeing = PPO(agent.envs, config, seed=agent.seed, device=str(agent.device))
    seeing.net.load_state_dict(agent.net.state_dict())
    seeing.net.encoder.images.load_state_dict(eyes)
    seeing.set_reference_policy()
    seeing.steps = agent.steps
    return seeing


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(held.shape) for name, held in state.items()}


def _layers(shapes: Mapping[str, tuple[int, ...]]) -> str:
    weights = [shape for name, shape in shapes.items() if name.endswith("weight")]
    return "layers of shapes " + ", ".join(map(str, weights)) if weights else "none"
