"""Policies that Stable-Baselines3 saved, as agents of ours; neither SB3 nor a pickle is needed.

A model of SB3 is a zip whose ``policy.pth`` holds the weights. How wide the layers are is told by
their shapes. What their activation is, and how ``VecNormalize`` scaled observations, is not in it.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.baselines.torch_files import read_state, stored_member
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.files import read_bytes, shown
from robolearn.networks.encoders import find_images
from robolearn.spaces import action_width, flat_size

Activation: TypeAlias = Literal["tanh", "relu"]
Layers: TypeAlias = list[tuple[Tensor, Tensor]]
"""Weights (outputs, inputs) and biases (outputs,) of linear layers, from the input on."""

LARGEST = 256 * 2**20
"""Bytes of the largest zip that is read."""
_MOST_LAYERS = 16
_WIDEST = 2048  # orthogonal weights, which ours begin with, take the cube of it

_REFUSED = {
    r"features_extractor\.": "that looks at images or has features of its own",
    r"^actor\.": "of SAC, TD3 or DDPG, which have no counterpart here",
    r"^quantile_net\.": "of QR-DQN, which lays quantiles out in another way",
    "lstm_": "with another kind of memory than there is here",
    r"shared_net\.": "whose policy and values share layers",
}
"""What is in names of tensors of policies that cannot be taken over, and why."""


@dataclass(frozen=True)
class SB3Policy:
    """The weights of a policy."""

    kind: Literal["actor-critic", "q-network"]
    nets: tuple[Layers, Layers]
    """Policy and value network; or online and target network."""
    log_std: Tensor | None
    """Logarithm of the deviation of continuous actions. Shape (A,)."""
    sha256: str = field(repr=False)
    """Of the zip."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(len(bias) for _, bias in self.nets[0][:-1])

    @property
    def inputs(self) -> int:
        """Width of an observation."""
        return self.nets[0][0][0].shape[1]

    @property
    def outputs(self) -> int:
        """Number of discrete actions, or of continuous coordinates."""
        return len(self.nets[0][-1][1])


def read_policy(path: Path) -> SB3Policy:
    """Return the policy in a model that SB3 saved, from its ``policy.pth`` alone.

    Raises:
        RobolearnError: No such model, a damaged one, or one that has no counterpart here.
    """
    data = read_bytes(path, LARGEST)
    where = f"policy.pth in {path}"
    state = read_state(stored_member(data, "policy.pth", str(path)), where)
    for pattern, why in _REFUSED.items():
        if any(re.search(pattern, name) for name in state):
            raise RobolearnError(f"{path} holds a policy {why}. Only MLPs of A2C, PPO and DQN go.")
    digest = hashlib.sha256(data).hexdigest()
    if any(name.startswith("q_net.") for name in state):
        online, target = (
            _layers(state, f"{net}.q_net.", where) for net in ("q_net", "q_net_target")
        )
        policy = SB3Policy("q-network", (online, target), None, digest)
        same = _shapes(online) == _shapes(target)
    else:
        actor = _layers(state, "mlp_extractor.policy_net.", where, "action_net")
        critic = _layers(state, "mlp_extractor.value_net.", where, "value_net")
        policy = SB3Policy("actor-critic", (actor, critic), state.pop("log_std", None), digest)
        same = _shapes(actor)[:-1] == _shapes(critic)[:-1] and len(critic[-1][1]) == 1
    if state:
        raise RobolearnError(f"{where} holds {shown(min(state))}, which has no counterpart here.")
    if not same:
        first, second = (" - ".join(map(str, _widths(net))) for net in policy.nets)
        raise RobolearnError(
            f"The two networks in {where} have layers of {first} and {second}, expected the same "
            "hidden layers (net_arch) in both."
        )
    if policy.log_std is not None and policy.log_std.shape != (policy.outputs,):
        raise RobolearnError(
            f"log_std in {where} has shape {tuple(policy.log_std.shape)}, expected "
            f"({policy.outputs},): noise that depends on the state (gSDE) has no counterpart here."
        )
    return policy


def _layers(state: dict[str, Tensor], prefix: str, where: str, last: str | None = None) -> Layers:
    """Take the linear layers of a network out of a state; activations have the odd numbers."""
    names = [f"{prefix}{2 * k}" for k in range(_MOST_LAYERS) if f"{prefix}{2 * k}.weight" in state]
    layers: Layers = []
    for name in [*names, *([last] if last else [])]:
        if f"{name}.weight" not in state or f"{name}.bias" not in state:
            raise RobolearnError(
                f"{where} must hold {name}.weight and {name}.bias, one is missing."
            )
        weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
        inputs = len(layers[-1][1]) if layers else weight.shape[-1] if weight.ndim else 0
        if weight.shape != (bias.numel(), inputs) or bias.ndim != 1 or bias.numel() > _WIDEST:
            raise RobolearnError(
                f"{name} in {where} has weights of shape {tuple(weight.shape)} and biases of "
                f"{tuple(bias.shape)}, expected (N, {inputs}) and (N,), N at most {_WIDEST}."
            )
        layers.append((weight, bias))
    if not layers:
        raise RobolearnError(f"{where} must hold {prefix}0.weight, it is missing.")
    return layers


def _shapes(layers: Layers) -> list[torch.Size]:
    return [weight.shape for weight, _ in layers]


def _widths(layers: Layers) -> list[int]:
    return [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]


def to_agent(policy: SB3Policy, env: EnvConfig, activation: Activation | None) -> PPO | DQN:
    """Return an agent that acts as the policy does: a PPO for actor-critics, a DQN for Q-networks.

    Args:
        policy: The weights.
        env: What it acts in.
        activation: Of the hidden layers; None for what SB3 has without being told.

    Raises:
        RobolearnError: The policy does not fit the environment, or a DQN with tanh.
    """
    envs = TrainingEnvs.of(env, None, {})
    _check_observations(policy, envs.observation_space, env.id)
    if policy.kind == "q-network":
        if activation == "tanh":
            raise RobolearnError("The DQN here has relu in its hidden layers, got tanh.")
        agent = DQN(envs, _plain_dqn(policy.hidden), device="cpu")
        _check_actions(policy, agent.envs.action_space, env.id)
        for net, layers in zip((agent.online, agent.target), policy.nets, strict=True):
            _copy(layers, net)
        return agent
    _check_actions(policy, envs.action_space, env.id)
    config = PPOConfig(
        hidden_sizes=policy.hidden,
        activation=activation or "tanh",
        normalize_obs=False,
        normalize_value=False,
    )
    agent = PPO(envs, config, device="cpu")
    actor, critic = policy.nets
    if isinstance(envs.action_space, spaces.Box) and policy.log_std is not None:
        actor, log_std = _in_our_range(actor, policy.log_std, envs.action_space)
        agent.net.head.load_state_dict({"log_std": log_std})
    _copy(actor, agent.net.policy)
    _copy(critic, agent.net.critic)
    return agent


def _plain_dqn(hidden: tuple[int, ...]) -> DQNConfig:
    """Return the settings of SB3's DQN, as far as the network and its targets go."""
    return DQNConfig(hidden_sizes=hidden, normalize_obs=False)


def _check_observations(policy: SB3Policy, space: gym.Space, env_id: str) -> None:
    parts = list(space.values()) if isinstance(space, spaces.Dict) else [space]
    # SB3 divides what it takes for an image by 255, whatever the network.
    pictures = [p for p in parts if p.dtype == np.uint8 and len(p.shape or ()) == 3]
    if pictures or find_images(space):
        raise RobolearnError(f"{env_id} shows images, which only policies trained here can read.")
    if policy.inputs != flat_size(space):
        raise RobolearnError(
            f"The policy reads {policy.inputs} numbers, observations of {env_id} have "
            f"{flat_size(space)}. Name the environment it was trained in with --env."
        )


def _check_actions(policy: SB3Policy, space: gym.Space, env_id: str) -> None:
    if not isinstance(space, spaces.Discrete | spaces.Box):
        raise RobolearnError(f"{env_id} has actions in {space}, expected Discrete or Box.")
    continuous = policy.log_std is not None
    if continuous is not isinstance(space, spaces.Box) or policy.outputs != action_width(space):
        kind = "coordinates of continuous actions" if continuous else "discrete actions"
        raise RobolearnError(
            f"The policy has {policy.outputs} {kind}, actions of {env_id} are {space}. "
            "Robolearn environments have both: --action continuous or discrete."
        )
    if isinstance(space, spaces.Discrete) and space.start != 0:
        raise RobolearnError(f"SB3 counts actions from 0, those of {env_id} are {space}.")


def _in_our_range(actor: Layers, log_std: Tensor, space: spaces.Box) -> tuple[Layers, Tensor]:
    """Return a policy and its deviations in the range [-1, 1] instead of the bounds.

    SB3's means are in the environment's units and are clipped to the bounds; see
    ``spaces.to_env_action`` for ours. Unbounded actions have no other range.

    Raises:
        RobolearnError: Some bounds are infinite and others are not, or two of them are the same.
    """
    bounds = np.stack([space.low.reshape(-1), space.high.reshape(-1)]).astype(np.float64)
    if not np.isfinite(bounds).any():
        return actor, log_std
    middle, half = bounds.mean(axis=0), np.diff(bounds, axis=0)[0] / 2
    if not (np.isfinite(half) & (half > 0)).all():
        raise RobolearnError(
            f"Actions must have finite bounds on both sides, or none at all, got {space}."
        )
    shift, scale = torch.from_numpy(middle), torch.from_numpy(half)
    weight, bias = (tensor.double() for tensor in actor[-1])
    last = ((weight / scale[:, None]).float(), ((bias - shift) / scale).float())
    return [*actor[:-1], last], (log_std.double() - scale.log()).float()


@torch.no_grad()
def _copy(layers: Layers, net: nn.Module) -> None:
    """Put weights into the linear layers of a network, in their order."""
    ours = [module for module in net.modules() if isinstance(module, nn.Linear)]
    for module, (weight, bias) in zip(ours, layers, strict=True):
        assert module.weight.shape == weight.shape
        module.weight.copy_(weight)
        module.bias.copy_(bias)
