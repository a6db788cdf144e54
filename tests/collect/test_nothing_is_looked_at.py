"""What is captured on a GPU looks at no tensor and brings none from the host."""

import numpy as np
import pytest
import torch
from on_host import SEED, described
from unseen import Looked, unseen

from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.dqn import DQN, RAINBOW, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig

BALANCE, SWING_UP, LIDAR = "CartPoleBalance-v0", "CartPoleSwingUp-v0", "NavLidar-v0"
SMALL = {"num_envs": 4, "hidden_sizes": (8,)}
ROLLOUT = {**SMALL, "n_steps": 8}
BATCHES = {**ROLLOUT, "batch_size": 16, "n_epochs": 2}
STEPS = 5


def masked_store(x):
    x[x > 0] = 1.0


LOOKS = {
    "item": lambda x: x[0].item(),
    "bool": lambda x: bool(x[0] > 0),
    "float": lambda x: float(x.sum()),
    "list": lambda x: x.tolist(),
    "array": lambda x: x.numpy(),
    "copy to the host": lambda x: x.cpu(),
    "choose by a mask": lambda x: x[x > 0],
    "write by a mask": masked_store,
    "masked select": lambda x: x.masked_select(x > 0),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "is nonzero": lambda x: x[0].is_nonzero(),
    "repeated": lambda x: x.repeat_interleave(x.to(torch.int64)),
    "constant": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "number": lambda x: x + torch.as_tensor(1.0),
    "from an array": lambda x: x + torch.from_numpy(np.ones(3, np.float32)),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_the_guard_notices(look):
    with pytest.raises(Looked), unseen():
        look(torch.ones(3))


def test_the_guard_lets_indices_choices_and_gradients_pass():
    x, index = torch.ones(3, requires_grad=True), torch.tensor([2, 0])
    with unseen():
        loss = torch.where(x > 0, 2.0 * x[index].sum(), 0.0).sum() + torch.zeros(()).fill_(0.5)
        loss.backward()
    assert loss.item() == 12.5  # three times 2 * (1 + 1), and 0.5
    assert x.grad.tolist() == [6.0, 0.0, 6.0]


def test_the_guard_notices_who_looks_in_a_gradient():
    class Looking(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * gradient.item()

    x = torch.ones((), requires_grad=True)
    with pytest.raises(Looked), unseen():
        Looking.apply(x).backward()


ITERATIONS = {
    "ppo": (PPO, BALANCE, PPOConfig(**BATCHES), {}),
    "ppo continuous": (
        PPO,
        SWING_UP,
        PPOConfig(**BATCHES, ent_coef=0.01),
        {"domain_randomization": 0.2},
    ),
    "ppo with a memory": (
        PPO,
        SWING_UP,
        PPOConfig(**BATCHES, gru_hidden_size=4, squash_output=True),
        {},
    ),
    "ppo with value clip": (
        PPO,
        BALANCE,
        PPOConfig(**BATCHES, clip_range_vf=0.2, lr_schedule="adaptive", desired_kl=0.01),
        {},
    ),
    "ppo as it comes": (
        PPO,
        BALANCE,
        PPOConfig(**BATCHES, normalize_obs=False, normalize_value=False, normalize_advantage=False),
        {},
    ),
    "ppo lidar": (PPO, LIDAR, PPOConfig(**BATCHES, log_scale_obs=True), {"curriculum": True}),
    "a2c": (A2C, SWING_UP, A2CConfig(**ROLLOUT, gru_hidden_size=4), {}),
    "pqn": (PQN, BALANCE, PQNConfig(**BATCHES), {}),
}


@pytest.mark.slow
@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize(("kind", "task", "config", "options"), ITERATIONS.values(), ids=ITERATIONS)
def test_nothing_of_an_iteration_is_looked_at(kind, task, config, options):
    agent = kind(described(task, **options), config, seed=SEED)
    collector = agent.collector
    collector.envs.set_episode_lengths(torch.tensor([1, 2, 3, 50]))  # so that episodes end
    with unseen():
        figures = [agent._iteration(collector, STEPS, counted) for counted in (False, True)]
    assert all(torch.isfinite(figure) for told in figures for figure in told.values())
    assert bool(collector.envs.get_state()["episode_index"][:3].all())


DQNS = {
    "dqn": {},
    "single": {"double_q": False, "n_step": 1},
    "prioritized_replay": {"prioritized_replay": True},
    "noisy_nets": {"noisy_nets": True, "value_distribution": "qr", "dueling": True},
    "rainbow": RAINBOW,
}


@pytest.mark.slow
@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize("parts", DQNS.values(), ids=DQNS)
def test_nothing_of_acting_remembering_and_replaying_is_looked_at(parts):
    config = DQNConfig(**SMALL, **parts, batch_size=8, buffer_size=32)
    agent = DQN(described(BALANCE), config, seed=SEED)
    collector = agent.collector
    collector.envs.set_episode_lengths(torch.tensor([1, 2, 3, 50]))
    with unseen():
        for _ in range(2):  # ten rows, of which the ring holds eight
            agent._store(*agent._collect(collector, STEPS))
            agent._indices[:3] = agent.sample_indices(3)
            told = agent._train_on_indices(3)
    assert torch.isfinite(told).all()
    assert bool(collector.envs.get_state()["episode_index"][:3].all())
