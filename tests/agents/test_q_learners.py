"""DQN and PQN learn what one minibatch at a time, written out plainly, would learn."""

from copy import deepcopy
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from probe_env import ALL_STATES, MODES, Walk
from small_agents import BALANCE, build, trained

from robolearn.accelerate import one_thread
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.errors import RobolearnError


@pytest.fixture(autouse=True)
def one_thread_as_in_learning():
    with one_thread():
        yield


every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])


def walk(mode=AutoresetMode.SAME_STEP, **options):
    return Walk(mode, **options)


# Rounds of gradient steps.


class Draw(NamedTuple):
    """What was drawn, and what the sum tree said of it then."""

    where: torch.Tensor
    priority: torch.Tensor | None
    total: torch.Tensor


def recorded(agent):
    """Note what an agent draws from its replay memory from now on."""
    draws, draw = [], agent._draw

    def note(count):
        where = draw(count)
        known = agent.config.prioritised  # else no priorities are kept
        draws.append(Draw(where, agent._tree.get(where) if known else None, agent._tree.total))
        return where

    agent._draw = note
    return draws


def warmed_up(**changes):
    """Return an agent whose next step is its first round of gradient steps."""
    options = {"warmup": 64, "batch": 16, "gamma": 0.9, "max_grad_norm": 0.5, "support": (0, 9)}
    agent = build("dqn", **{**options, "learning_rate": 1e-2, **changes}).learn(64)
    assert agent.updates == 0
    assert len(agent._replay) == 64
    with torch.no_grad():  # so that the two networks differ about the best action
        agent.online.advantage.layers[-1].weight.neg_()
    stored = agent._replay.read(torch.arange(64), 1, 0.9).next_obs
    best = [net.q(stored).argmax(dim=1) for net in nets(agent)]
    assert (best[0] != best[1]).float().mean() > 0.2
    return agent


class Plain:
    """DQN on given draws, one minibatch at a time, by PyTorch's own optimiser."""

    def __init__(self, agent):
        self.config, self.replay, self.updates = agent.config, agent._replay, 0
        self.online, self.target = deepcopy(agent.online), deepcopy(agent.target)
        self.adam = torch.optim.Adam(self.online.parameters())

    def update(self, draw, k, done):
        """Take one gradient step; return the loss and what surprised how much."""
        config, returns, rows = self.config, self.online.returns, torch.arange(16)
        batch = self.replay.read(draw.where[k], config.n_step, config.gamma)
        weight = batch.weight
        if config.prioritised:
            chance = draw.priority[k] / draw.total
            beta = config.importance_start + (1 - config.importance_start) * done
            weight = (1 / (len(self.replay) * chance)) ** beta
            weight = (weight / weight.max()).float()
        with torch.no_grad():
            next_output = self.target(batch.next_obs)
            chooser = self.online if config.double else self.target
            best = chooser.q(batch.next_obs).argmax(dim=1)
            goal = returns.target(batch.reward, batch.discount, next_output[rows, best])
        told = self.online(batch.obs)[rows, batch.action]
        loss = (weight * returns.error(told, goal)).sum() / (weight > 0).sum()
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.online.parameters(), config.max_grad_norm)
        self.adam.param_groups[0]["lr"] = config.learning_rate * (1 - done)
        self.adam.step()
        self.updates += 1
        if self.updates % config.target_period == 0:
            self.target.load_state_dict(self.online.state_dict())
        return loss.item(), returns.surprise(told.detach(), goal)


@pytest.mark.slow
@pytest.mark.parametrize("returns", ["mean", "categorical", "quantile"])
@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
@pytest.mark.parametrize(("target_period", "prioritised"), [(100, False), (3, False), (3, True)])
def test_a_round_is_its_minibatches_one_after_the_other(
    double, returns, target_period, prioritised
):
    agent = warmed_up(
        double=double,
        returns=returns,
        target_period=target_period,
        prioritised=prioritised,
        updates=4,
        atoms=11,
        dueling=True,
    )
    draws, plain = recorded(agent), Plain(agent)
    for done in (0.0, 0.25, 0.5):
        draws.clear()
        metrics = agent._update(done, 1e-2 * (1 - done))
        losses = [plain.update(draw, k, done)[0] for draw in draws for k in range(len(draw.where))]
        assert len(losses) == 4
        assert metrics["td_loss"] == pytest.approx(np.mean(losses), abs=1e-6)
        assert metrics["learning_rate"] == pytest.approx(1e-2 * (1 - done))
    assert agent.updates == plain.updates == 12
    for ours, theirs in ((agent.online, plain.online), (agent.target, plain.target)):
        for name, tensor in ours.state_dict().items():
            torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=0, atol=1e-6)


def test_the_target_network_learns_by_copies_alone():
    agent = trained("dqn", target_period=7)
    assert not any(parameter.requires_grad for parameter in agent.target.parameters())
    assert all(parameter.grad is None for parameter in agent.target.parameters())


def test_the_target_network_is_copied_exactly_every_target_period():
    agent = warmed_up(updates=4, target_period=6)
    copied, load = [], agent.target.load_state_dict

    def note(state):
        copied.append(agent.updates)
        assert all(torch.equal(state[key], now) for key, now in agent.online.state_dict().items())
        return load(state)

    agent.target.load_state_dict = note
    agent.learn(160)  # ten rounds of 16 environment steps
    agent.close()
    assert agent.updates == 40
    assert copied == [6, 12, 18, 24, 30, 36]


# Prioritised replay.


def test_what_was_drawn_is_left_with_its_surprise_as_priority():
    agent = warmed_up(prioritised=True, updates=1, priority_exponent=0.7)
    draws, plain = recorded(agent), Plain(agent)
    for done in (0.0, 0.5):
        before = agent._tree.get(torch.arange(64))
        agent._update(done, 1e-2 * (1 - done))
        [where] = draws[-1].where
        _, surprise = plain.update(draws[-1], 0, done)
        expected = before.clone()
        expected[where] = (surprise.double() + 1e-6) ** 0.7
        torch.testing.assert_close(agent._tree.get(torch.arange(64)), expected, rtol=1e-4, atol=0)
        assert agent._tree.highest.item() == pytest.approx(
            max(1.0, expected.max().item()), rel=1e-4
        )


def test_new_steps_are_as_urgent_as_what_surprised_most_and_resets_never():
    mode = AutoresetMode.NEXT_STEP
    agent = build("dqn", walk(mode, rewards=(9.0, 0.0, 0.0)), prioritised=True).learn(256)
    assert agent._tree.highest > 1
    steps, actions = agent._explore(agent.envs.collector(4, 0), 12, 1.0)
    agent._remember(steps, actions)
    found = agent._tree.get(256 + torch.arange(48)).view(12, 4)
    valid = torch.from_numpy(np.stack([step.valid for step in steps]))
    assert (~valid).sum() == 8  # of 12 rows every sixth only reset, which one by environment
    torch.testing.assert_close(found, valid.double() * agent._tree.highest, rtol=1e-6, atol=0)


@pytest.mark.parametrize("prioritised", [False, True])
def test_steps_that_were_only_a_reset_teach_nothing(prioritised):
    agent = build("dqn", walk(AutoresetMode.NEXT_STEP), prioritised=prioritised)
    draws = recorded(agent) if agent.learn(64) else []
    agent.learn(256)
    agent.close()
    where = torch.cat([draw.where.flatten() for draw in draws])
    weight = agent._replay.read(where, 1, 0.9).weight
    # Every sixth step is a reset. Prioritised replay never draws it, other replay weighs it 0.
    assert len(where) > 1000
    resets = (weight == 0).float().mean().item()
    assert resets == 0.0 if prioritised else 0.1 < resets < 0.23


# Rainbow and its support.


def test_rainbow_sets_every_switch():
    config = DQNConfig(rainbow=True, n_step=1, double=False)
    assert config.double
    assert config.dueling
    assert config.prioritised
    assert config.noisy
    assert config.returns == "categorical"
    assert config.n_step == 3
    assert DQNConfig(rainbow=True, n_step=5).n_step == 5
    agent = DQN(BALANCE, config)
    assert agent.online.value is not None
    assert agent.online.noisy
    assert agent.online.returns.width == 51


def test_noisy_weights_explore_instead_of_random_actions():
    agent = build("dqn", noisy=True, epsilon_end=0.5)
    epsilon = [report.metrics["epsilon"] for report in agent.iterate(128)]
    agent.close()
    assert epsilon == [1.0] * 4 + [0.0] * 4  # but for the 64 steps of warm-up
    obs = np.full((500, 4), 0.1, np.float32)
    values = agent.q_values(obs)
    assert (values == values[0]).all()  # asked for its opinion it has but one
    for layer in (agent.online.advantage.layers[0], agent.online.advantage.layers[1]):
        torch.nn.init.constant_(layer.weight_sigma, 1.0)
    assert set(agent.predict(obs)[0].tolist()) == {0, 1}
    assert len(set(agent.predict(obs, deterministic=True)[0].tolist())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.0}, "gamma=1 .* got support=None. Give the least and greatest return"),
        (
            {"gamma": 0.75, "support": (0.0, 7.9), "reward_bounds": (0.0, 2.0)},
            r"from 0 to 8, .* gamma=0.75 .* got \(0.0, 7.9\)",
        ),
        (
            {"gamma": 0.75, "support": (-3.9, 9.0), "reward_bounds": (-1.0, 2.0)},
            r"from -4 to 8, .* got \(-3.9, 9.0\)",
        ),
    ],
)
def test_a_support_that_cannot_hold_the_returns_is_refused(options, message):
    with pytest.raises(RobolearnError, match=message):
        DQNConfig(returns="categorical", **options)
    DQNConfig(returns="mean", **options)  # which has none


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99, 0.997])
def test_a_support_that_just_holds_the_returns_is_not_refused(gamma):
    # 1 / (1 - 0.9) is 10.000000000000002 in floating point.
    horizon = round(1 / (1 - gamma), 6)
    DQNConfig(
        returns="categorical",
        gamma=gamma,
        support=(-horizon, 2 * horizon),
        reward_bounds=(-1.0, 2.0),
    )


def spanned(agent):
    return [(net.returns.support[0].item(), net.returns.support[-1].item()) for net in nets(agent)]


def nets(agent):
    return agent.online, agent.target


def test_without_discount_a_support_asked_for_is_taken_as_it_is():
    # Rewards of an endless episode have no bounded sum: nothing to hold the support against.
    config = DQNConfig(returns="categorical", gamma=1.0, support=(0, 9), reward_bounds=(0, 1))
    assert config.support == (0, 9)


def test_the_support_holds_what_rewards_met_during_the_warm_up_make_possible():
    # Rewards 1, 0 and -2 and gamma 0.8: -2 / (1 - 0.8) = -10 and 1 / (1 - 0.8) = 5.
    agent = build("dqn", walk(rewards=(1.0, 0.0, -2.0)), returns="categorical", gamma=0.8)
    assert spanned(agent) == [pytest.approx((-5, 5))] * 2  # before any is known: of -1 and 1
    agent.learn(48)
    assert spanned(agent) == [pytest.approx((-5, 5))] * 2
    agent.learn(80)
    assert spanned(agent) == [pytest.approx((-10, 5))] * 2
    agent.envs._envs._rewards = np.array([0.5, 0.0, 0.0])
    agent.learn(1024)  # which overwrites all of the memory: what was measured stays
    agent.close()
    assert spanned(agent) == [pytest.approx((-10, 5))] * 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"support": (-3.0, 7.0)}, (-3.0, 7.0)),
        ({"reward_bounds": (0.0, 2.0)}, (0.0, 10.0)),
        ({"support": (-3.0, 11.0), "reward_bounds": (0.0, 2.0)}, (-3.0, 11.0)),
        ({"support": (0.0, 5.0), "gamma": 1.0}, (0.0, 5.0)),
    ],
)
def test_a_support_asked_for_is_not_measured(options, expected):
    config = {"returns": "categorical", "gamma": 0.8, **options}
    agent = trained("dqn", env=walk(rewards=(0.1, 0.0, 0.0)), **config)
    assert spanned(agent) == [pytest.approx(expected)] * 2


def test_rewards_that_are_all_zero_leave_the_support_alone():
    agent = trained("dqn", env=walk(rewards=(0, 0, 0)), returns="categorical", gamma=0.8)
    assert spanned(agent) == [pytest.approx((-5, 5))] * 2


def test_a_support_too_small_is_warned_of_once():
    # Returns of 1 / (1 - 0.8^3) = 2 at most, where the atoms end at 1.
    agent = build("dqn", walk(), returns="categorical", gamma=0.8, support=(0.0, 1.0))
    message = r"\d+% of the returns lie outside the support \[0, 1\] .* give a wider"
    with pytest.warns(UserWarning, match=message) as warnings:
        agent.learn(256)
    assert len(warnings) == 1
    agent.learn(64)
    agent.close()


def test_a_measured_support_is_read_back(tmp_path):
    rewards = (1.0, 0.0, -2.0)
    agent = trained("dqn", env=walk(rewards=rewards), returns="categorical", gamma=0.8)
    agent.save(tmp_path / "agent")
    again = DQN.load(tmp_path / "agent", env=walk(rewards=(0.1, 0.0, 0.0)))
    assert spanned(again) == spanned(agent) == [pytest.approx((-10, 5))] * 2
    np.testing.assert_array_equal(again.q_values(ALL_STATES), agent.q_values(ALL_STATES))
    again.learn(128)
    again.close()
    assert spanned(again) == spanned(agent)


# PQN.


@every_mode
@pytest.mark.parametrize("q_lambda", [0.0, 0.65, 1.0])
@pytest.mark.parametrize("terminates", [False, True])
def test_pqn_learns_towards_lambda_returns(mode, q_lambda, terminates):
    env = walk(mode, rewards=(1.0, 2.0, -4.0), terminates=terminates)
    agent = build("pqn", env, q_lambda=q_lambda, gamma=0.9).learn(128)
    steps, actions = agent._explore(agent.envs.collector(4, 0), 13, 0.5)
    lesson = agent._lesson(steps, actions)
    obs, action, target = [], [], []
    for t in range(13):
        for i in range(4):
            if steps[t].valid[i]:
                obs.append(steps[t].obs[i])
                action.append(actions[t, i].item())
                target.append(lambda_return(agent, steps, t, i))
    np.testing.assert_array_equal(lesson.obs, obs)
    assert lesson.action.tolist() == action
    np.testing.assert_allclose(lesson.target, target, rtol=1e-5, atol=1e-5)
    assert np.std(target) > 0.5


def lambda_return(agent, steps, t, i):
    """Gallici et al. (2025), eq. of Q(lambda): what step t of an environment should be valued."""
    step, config = steps[t], agent.config
    if step.terminated[i]:
        return step.reward[i]
    best = agent.q_values(step.next_obs[i : i + 1]).max()
    last = step.done[i] or t + 1 == len(steps)
    later = best if last else lambda_return(agent, steps, t + 1, i)
    mixed = (1 - config.q_lambda) * best + config.q_lambda * later
    return step.reward[i] + config.gamma * mixed


def test_pqn_passes_over_its_rollout_in_shuffled_minibatches():
    # 16 rows of 4 environments are two minibatches of 32; two epochs make four gradient steps.
    agent = build("pqn").learn(64)
    steps = [state["step"].item() for state in agent._descent.adam.state.values()]
    agent.close()
    assert steps == [4]
