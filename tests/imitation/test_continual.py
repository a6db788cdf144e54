"""What keeps earlier tasks, by hand and by slow oracles, and that it does keep them."""

import numpy as np
import pytest
import torch
from torch import nn

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.continual import (
    Task,
    average,
    forgetting,
    forward_transfer,
    learn_in_turn,
    normalized,
    shown_by_expert,
)
from robolearn.imitation.keeping import (
    Acting,
    ContinualConfig,
    KeepNothing,
    KeepOutputs,
    KeepWeights,
    fisher_diagonal,
    new_keeper,
    weight_penalty,
)
from robolearn.networks.actor_critic import CategoricalDistribution, GaussianDistribution
from robolearn.networks.encoders import mlp

PUSHED = EnvConfig(
    id="robolearn/CartPoleBalance-v0", engine="analytic", kwargs={"action": "continuous"}
)
SMALL = PPOConfig(num_envs=4, n_steps=16, batch_size=32, hidden_sizes=(24,))

# [i, j]: of task j after learning task i.
SCORES = np.array([[0.9, 0.2, 0.1], [0.95, 0.8, 0.3], [0.5, 0.7, 1.0]])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


def test_the_average_is_of_what_is_left_in_the_end():
    assert average(SCORES) == pytest.approx((0.5 + 0.7 + 1.0) / 3)


def test_what_is_forgotten_is_counted_from_the_best_and_not_of_the_last_task():
    # 0.95 - 0.5 and 0.8 - 0.7.
    assert forgetting(SCORES) == pytest.approx((0.45 + 0.1) / 2)


def test_what_is_learned_for_later_tasks_is_counted_just_before_they_are():
    # 0.2 - 0.05 and 0.3 - 0.25.
    assert forward_transfer(SCORES, np.array([0.7, 0.05, 0.25])) == pytest.approx((0.15 + 0.05) / 2)


def test_scores_lie_between_the_untrained_and_the_expert():
    # (5 - 1) / (9 - 1) and (-1 - 2) / (4 - 2).
    returns = np.array([[5.0, -1.0]])
    assert normalized(returns, np.array([1.0, 2.0]), np.array([9.0, 4.0])).tolist() == [[0.5, -1.5]]


# Penalties.


def line(slope=3.0, offset=1.0):
    """One number of one number."""
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(slope)
        layer.bias.fill_(offset)
    return layer


def test_the_distance_of_weights_by_hand():
    # (5 (3 - 1)^2 + 2 (1 - 4)^2) / 2 = (20 + 18) / 2, with the slope 5 (3 - 1) in the first weight.
    module = line()
    before = {"weight": torch.tensor([[1.0]]), "bias": torch.tensor([4.0])}
    importance = {"weight": torch.tensor([[5.0]]), "bias": torch.tensor([2.0])}
    penalty = weight_penalty(module, before, importance)
    penalty.backward()
    assert penalty.item() == pytest.approx(19.0)
    assert module.weight.grad.item() == pytest.approx(10.0)


def test_the_fisher_diagonal_of_a_line_by_hand():
    # log N(a; w x + b, s): its slope in w is x z / s for a standard normal z, whose square has the
    # mean x^2 / s^2: 4 / 0.25 = 16 for x = 2 and s = 0.5; and 1 / s^2 = 4 for b.
    head = GaussianDistribution(1, init_std=0.5)
    fisher = fisher_diagonal(line(), head, torch.full((40_000, 1), 2.0), rng())
    assert fisher["weight"].item() == pytest.approx(16.0, rel=0.03)
    assert fisher["bias"].item() == pytest.approx(4.0, rel=0.03)


@pytest.mark.parametrize(
    "head", [GaussianDistribution(2, init_std=0.7), CategoricalDistribution(2)]
)
def test_the_fisher_diagonal_is_that_of_one_gradient_after_the_other(head):
    net, obs = mlp(3, (5,), 2, generator=rng()), randn(7, 3)
    net[0].bias.requires_grad_(False)  # what is frozen does not count
    with torch.no_grad():
        output = net(obs)
        action = head.sample(output, head.draw_noise(7, generator=rng(4)))
    totals = {name: 0.0 for name, p in net.named_parameters() if p.requires_grad}
    for one, done in zip(obs, action, strict=True):
        net.zero_grad()
        head.log_prob(net(one[None]), done[None]).sum().backward()
        for name, p in net.named_parameters():
            if p.requires_grad:
                totals[name] = totals[name] + p.grad.square() / 7
    fisher = fisher_diagonal(net, head, obs, rng(4))
    assert fisher.keys() == totals.keys() == {"0.weight", "2.weight", "2.bias"}
    for name, total in totals.items():
        torch.testing.assert_close(fisher[name], total, rtol=1e-4, atol=1e-7)
        assert not fisher[name].requires_grad


def agent_of(seed=0):
    return PPO(PUSHED, SMALL, seed=seed)


def moved(acting, by=0.1):
    with torch.no_grad():
        for parameter in acting.parameters():
            parameter.add_(by)


def test_nothing_is_kept_by_naive_fine_tuning():
    acting = Acting(agent_of().net)
    keeper = new_keeper(agent_of().net, ContinualConfig(method="none"), rng())
    keeper.remember(acting, randn(500, 4))
    moved(acting)
    assert isinstance(keeper, KeepNothing)
    assert keeper.penalty(acting).item() == 0.0


def test_an_l2_penalty_holds_on_to_the_last_weights_alike():
    # All of 4*24+24 + 24+1 = 145 weights are moved by 0.1 after the second task: 145 * 0.01 / 2,
    # and the weight of it is 3.
    agent = agent_of()
    acting = Acting(agent.net)
    keeper = new_keeper(agent.net, ContinualConfig(method="l2", weight=3.0), rng())
    assert keeper.penalty(acting).item() == 0.0
    for _ in range(2):
        keeper.remember(acting, randn(500, 4))
        assert keeper.penalty(acting).item() == 0.0
        moved(acting)
    assert keeper.penalty(acting).item() == pytest.approx(3.0 * 145 * 0.01 / 2, rel=1e-4)


def test_elastic_weights_matter_by_the_sum_of_all_tasks_before():
    agent = agent_of()
    acting, obs = Acting(agent.net), randn(2, 500, 4)
    config = ContinualConfig(method="ewc", weight=3.0, fisher_samples=100)
    keeper, stream = new_keeper(agent.net, config, rng()), rng()
    expected = 0.0
    for task in obs:  # the same draws: 100 of 500 samples, then their actions
        chosen = torch.randperm(500, generator=stream)[:100]
        fisher = fisher_diagonal(acting, agent.net.head, task[chosen], stream)
        expected += 3.0 * 0.5 * sum(part.sum().item() for part in fisher.values()) * 0.01
        keeper.remember(acting, task)
        moved(acting)
    assert isinstance(keeper, KeepWeights)
    assert keeper.penalty(acting).item() == pytest.approx(expected, rel=1e-4)


def test_replay_keeps_one_sample_in_a_hundred_and_what_was_told_of_it():
    agent = agent_of()
    acting = Acting(agent.net)
    keeper = new_keeper(agent.net, ContinualConfig(weight=3.0), rng())
    assert isinstance(keeper, KeepOutputs)
    assert keeper.penalty(acting).item() == 0.0
    keeper.remember(acting, randn(799, 4))
    keeper.remember(acting, randn(300, 4, seed=1))
    assert keeper.stored == 7 + 3
    assert keeper.penalty(acting).item() == pytest.approx(0.0, abs=1e-6)
    # Means 0.2 higher with a deviation of 1: 0.2^2 / 2 for each of two tasks, with weight 3.
    with torch.no_grad():
        acting.policy[-1].bias.add_(0.2)
    assert keeper.penalty(acting).item() == pytest.approx(3.0 * 2 * 0.02, rel=1e-3)


# All of it.


def conflicting():
    """Two tasks in different places, one where a line through the other goes wrong."""
    env, there = PUSHED, torch.tensor([1.0, 0.0, 0.0, 0.0])
    left, right = 0.3 * randn(2_000, 4) - there, 0.3 * randn(2_000, 4, seed=1) + there
    return [
        Task(env, left, torch.full((2_000, 1), 0.8), 500.0),
        Task(env, right, torch.full((2_000, 1), -0.8), 500.0),
    ]


def error_on_the_first(method, weight=None):
    agent, tasks = agent_of(seed=2), conflicting()
    how = {"method": method, "weight": weight}
    config = ContinualConfig(**how, updates=300, batch=64, continual_rate=1e-2)
    learn_in_turn(agent, tasks, config, seed=0, episodes=1)
    with torch.no_grad():
        told = agent.net.policy(agent.net.encoder(tasks[0].obs))
    return (told - tasks[0].action).square().mean().item()


@pytest.mark.slow
def test_each_method_forgets_less_than_none():
    naive = error_on_the_first("none")
    assert naive > 0.2
    assert error_on_the_first("l2", 0.1) < 0.5 * naive
    assert error_on_the_first("ewc", 10.0) < 0.5 * naive
    assert error_on_the_first("replay") < 0.15 * naive


def test_tasks_are_learned_in_turn_and_measured_after_each():
    tasks, config = conflicting(), ContinualConfig(updates=50, batch=64)
    agent, again, other = agent_of(), agent_of(), agent_of()
    record = learn_in_turn(agent, tasks, config, seed=0, episodes=2)
    assert record.scores.shape == (2, 2)
    assert record.untrained.shape == (2,)
    assert (record.scores[:, 0] == record.scores[:, 1]).all()  # the same place
    same = learn_in_turn(again, tasks, config, seed=0, episodes=2)
    learn_in_turn(other, tasks, config, seed=1, episodes=2)
    first, second, third = (one.net.policy[0].weight for one in (agent, again, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    np.testing.assert_array_equal(record.scores, same.scores)
    assert agent.net.encoder.observations.count.item() == 2_000  # of the first task alone


def test_who_has_learned_in_turn_goes_on_learning_by_itself():
    agent = agent_of()
    learn_in_turn(agent, conflicting(), ContinualConfig(updates=5), seed=0, episodes=1)
    before = agent.net.policy[0].weight.detach().clone()
    agent.learn(64)
    agent.close()
    assert not torch.equal(agent.net.policy[0].weight, before)


@pytest.mark.slow
def test_an_expert_shows_a_task():
    agent = agent_of()
    task = shown_by_expert(agent, PUSHED, steps=700, noise=0.1, seed=1)
    assert task.obs.shape == (700, 4)
    assert task.action.shape == (700, 1)
    assert task.expert == 500.0
    # What is to be learned is the regulator's wish, linear within its bounds, and not the noise.
    within = task.action[:, 0].abs() < 1
    z, wish = task.obs[within].double(), task.action[within].double()
    assert len(z) > 100
    torch.testing.assert_close(z @ torch.linalg.lstsq(z, wish).solution, wish, rtol=0, atol=1e-4)
    assert task.action.abs().max() <= 1.0
    again = shown_by_expert(agent, PUSHED, steps=700, noise=0.1, seed=1)
    assert torch.equal(task.obs, again.obs)


def test_an_expert_of_other_spaces_is_refused():
    elsewhere = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
    with pytest.raises(RobolearnError, match="do not fit robolearn/CartPoleSwingUp-v0"):
        shown_by_expert(agent_of(), elsewhere, steps=100)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "ewcc"}, "ewc"),
        ({"stored": 0.02}, "stored must lie in"),
        ({"weight": -1.0}, "weight must be at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(RobolearnError, match=words):
        ContinualConfig(**changes)


def test_a_memory_is_refused():
    agent = PPO(PUSHED, PPOConfig(num_envs=4, gru_hidden_size=8, batch_size=64))
    with pytest.raises(RobolearnError, match="must have no GRU, got gru_hidden_size=8"):
        learn_in_turn(agent, conflicting(), ContinualConfig(), seed=0)
