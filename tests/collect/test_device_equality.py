"""Learning where the simulation is, is learning on the host: the same numbers to the last bit.

The host's way is the one that has been tested for long: a collector of NumPy arrays, a rollout
buffer, masks that choose what counts. It is given the very same environments.
"""

import pytest
import torch
from on_host import twins

from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.on_policy import OnPolicyAgent
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig

pytestmark = pytest.mark.usefixtures("short_episodes")

BALANCE, SWING_UP, LIDAR = "CartPoleBalance-v0", "CartPoleSwingUp-v0", "NavLidar-v0"
SMALL = {"num_envs": 8, "hidden_sizes": (16,)}
ROLLOUT = {**SMALL, "n_steps": 32}
BATCHES = {**ROLLOUT, "batch_size": 64, "n_epochs": 2}
REPLAY = {
    **SMALL,
    "learning_starts": 64,
    "batch_size": 16,
    "buffer_size": 480,
    "target_update_interval": 48,
    "double_q": True,
    "n_step": 3,
}
ROUND = 8 * 32
BLOCK = 64
"""A multiple of the rows that BLAS takes together."""
PRIORITISED = {"prioritized_replay": True, "exploration_fraction": 0.5}

CASES = {
    "ppo": (PPO, BALANCE, PPOConfig(**BATCHES), {}),
    "ppo continuous": (
        PPO,
        SWING_UP,
        PPOConfig(**BATCHES, ent_coef=0.01),
        {"domain_randomization": 0.2},
    ),
    "ppo with a memory": (PPO, SWING_UP, PPOConfig(**BATCHES, gru_hidden_size=16), {}),
    "ppo adapting its rate": (
        PPO,
        BALANCE,
        PPOConfig(**BATCHES, lr_schedule="adaptive", desired_kl=1e-3),
        {},
    ),
    "ppo as it comes": (
        PPO,
        SWING_UP,
        PPOConfig(**BATCHES, normalize_obs=False, normalize_value=False, normalize_advantage=False),
        {},
    ),
    "ppo lidar": (PPO, LIDAR, PPOConfig(**BATCHES, log_scale_obs=True), {"level": 1}),
    "a2c": (A2C, BALANCE, A2CConfig(**ROLLOUT), {}),
    "a2c with a memory": (A2C, SWING_UP, A2CConfig(**ROLLOUT, gru_hidden_size=16), {}),
    "pqn": (PQN, BALANCE, PQNConfig(**BATCHES), {}),
    "dqn": (DQN, BALANCE, DQNConfig(**REPLAY), {}),
    "dqn prioritised": (DQN, BALANCE, DQNConfig(**REPLAY, **PRIORITISED), {}),
    "dqn noisy": (
        DQN,
        SWING_UP,
        DQNConfig(**REPLAY, noisy_nets=True, value_distribution="qr", dueling=True, n_quantiles=11),
        {"action": "discrete"},
    ),
}


def flattened(tree, prefix=""):
    """Yield all tensors of nested dicts, and their names."""
    for key, part in tree.items():
        name = f"{prefix}{key}"
        if isinstance(part, dict):
            yield from flattened(part, f"{name}/")
        elif isinstance(part, torch.Tensor):
            yield name, part


def everything(agent):
    """Return all tensors that learning changes, by name."""
    parts = agent.parts()
    modules = parts.modules.items()
    return dict(
        flattened(
            {
                **{f"{name}.parameters": dict(net.named_parameters()) for name, net in modules},
                **{f"{name}.buffers": dict(net.named_buffers()) for name, net in modules},
                "moments": parts.optimizer.moments,
                "random": {name: rng.get_state() for name, rng in parts.generators.items()},
                **{name: keeper.state() for name, keeper in parts.keepers.items()},
            }
        )
    )


def in_blocks(ask):
    """Let a network be asked of whole blocks of rows alone, by adding others that are 0."""

    def asked(first, *others):
        if first.ndim > 2:
            return ask(first, *others)
        count = len(first)
        rows = [torch.cat([x, x.new_zeros(-count % BLOCK, *x.shape[1:])]) for x in (first, *others)]
        return ask(*rows)[:count]

    return asked


def learned(kind, task, config, options, steps, *, blocks=True):
    """Let both learn the same.

    What the end of an episode reached is valued on the host for those K of a rollout, on a device
    for all of its steps. How BLAS rounds a product of matrices depends on where in a block of rows
    it comes to lie: so the host is asked of whole blocks, unless ``blocks`` is False.

    Returns:
        The agent on the host, the one on the device, their figures, and the ends of episodes.
    """
    host, device, ends = twins(kind, task, config, **options)
    if blocks and isinstance(host, OnPolicyAgent):
        host.net.value, host.net.encode = map(in_blocks, (host.net.value, host.net.encode))
    figures = []
    for here, there in zip(host.iterate(steps), device.iterate(steps), strict=True):
        assert here.steps == there.steps
        figures.append((here.metrics, there.metrics))
    assert figures[-1][0].keys() - {
        "train/learning_rate",
        "rollout/exploration_rate",
    }  # it has learned
    assert ends.cut > 0
    assert ends.truncated > 0
    assert ends.terminated > 0 or task != BALANCE  # others seldom end so
    return host, device, figures


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "task", "config", "options"), CASES.values(), ids=CASES)
def test_what_is_learned_on_a_device_is_what_is_learned_on_the_host(kind, task, config, options):
    host, device, figures = learned(kind, task, config, options, steps=3 * ROUND + 80)
    for here, there in figures:
        assert here.items() <= there.items()  # which has those of episodes, too
    ours, theirs = everything(host), everything(device)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.slow
def test_asked_of_any_rows_the_host_is_off_by_rounding():
    # As above without the blocks: values of some ends are off by units of 2^-24, and what is
    # learned from them; in three rounds at a rate of 1e-3 that comes to less than 1e-6.
    config = PPOConfig(**BATCHES, log_scale_obs=True)
    host, device, _ = learned(PPO, LIDAR, config, {"level": 1}, steps=3 * ROUND, blocks=False)
    ours, theirs = everything(host), everything(device)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if name.startswith("random"):
            assert torch.equal(tensor, theirs[name])
        else:
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-6, msg=name)
