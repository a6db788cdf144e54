"""DQN and PQN learn what one minibatch at a time, written out plainly, would learn."""

from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from probe_env import ALL_STATES, MODES, Walk
from small_agents import BALANCE, build, explored, trained

from robolearn.accelerate import one_thread
from robolearn.agents.dqn import DQN, DQNConfig, rainbow
from robolearn.environments import EnvConfig
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
    draws, draw = [], agent.sample_indices

    def note(count):
        where = draw(count)
        known = agent.config.prioritized_replay  # else no priorities are kept
        draws.append(Draw(where, agent._tree.get(where) if known else None, agent._tree.total))
        return where

    agent.sample_indices = note
    return draws


def warmed_up(**changes):
    """Return an agent whose next step is its first round of gradient steps."""
    options = {"learning_starts": 64, "batch_size": 16, "gamma": 0.9, "max_grad_norm": 0.5}
    options |= {"v_min": 0.0, "v_max": 9.0}
    agent = build("dqn", **{**options, "learning_rate": 1e-2, **changes}).learn(64)
    assert agent.num_updates == 0
    assert len(agent._replay) == 64
    with torch.no_grad():  # so that the two networks differ about the best action
        agent.online.advantage.layers[-1].weight.neg_()
    stored = agent._replay.get(torch.arange(64), 1, 0.9).next_obs
    best = [net.q(stored).argmax(dim=1) for net in nets(agent)]
    assert (best[0] != best[1]).float().mean() > 0.2
    return agent


class Plain:
    """DQN on given draws, one minibatch at a time, by PyTorch's own optimizer."""

    def __init__(self, agent):
        self.config, self.replay, self.updates = agent.config, agent._replay, 0
        self.online, self.target = deepcopy(agent.online), deepcopy(agent.target)
        self.adam = torch.optim.Adam(self.online.parameters())

    def update(self, draw, k, done):
        """Take one gradient step; return the loss and what surprised how much."""
        config, returns, rows = self.config, self.online.returns, torch.arange(16)
        batch = self.replay.get(draw.where[k], config.n_step, config.gamma)
        weight = batch.weight
        if config.prioritized_replay:
            chance = draw.priority[k] / draw.total
            beta = config.per_beta_start + (1 - config.per_beta_start) * done
            weight = (1 / (len(self.replay) * chance)) ** beta
            weight = (weight / weight.max()).float()
        with torch.no_grad():
            next_output = self.target(batch.next_obs)
            chooser = self.online if config.double_q else self.target
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
        if self.updates % (config.target_update_interval // 4) == 0:  # 16 steps, 4 updates
            self.target.load_state_dict(self.online.state_dict())
        return loss.item(), returns.td_error(told.detach(), goal)


@pytest.mark.slow
@pytest.mark.parametrize("returns", ["none", "c51", "qr"])
@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
@pytest.mark.parametrize(
    ("target_update_interval", "prioritized_replay"), [(400, False), (12, False), (12, True)]
)
def test_a_round_is_its_minibatches_one_after_the_other(
    double, returns, target_update_interval, prioritized_replay
):
    agent = warmed_up(
        double_q=double,
        value_distribution=returns,
        target_update_interval=target_update_interval,
        prioritized_replay=prioritized_replay,
        gradient_steps=4,
        n_atoms=11,
        n_quantiles=11,
        dueling=True,
    )
    draws, plain = recorded(agent), Plain(agent)
    for done in (0.0, 0.25, 0.5):
        draws.clear()
        metrics = agent._update(done, 1e-2 * (1 - done))
        losses = [plain.update(draw, k, done)[0] for draw in draws for k in range(len(draw.where))]
        assert len(losses) == 4
        assert metrics["train/loss"] == pytest.approx(np.mean(losses), abs=1e-6)
        assert metrics["train/learning_rate"] == pytest.approx(1e-2 * (1 - done))
    assert agent.num_updates == plain.updates == 12
    for ours, theirs in ((agent.online, plain.online), (agent.target, plain.target)):
        for name, tensor in ours.state_dict().items():
            torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=0, atol=1e-6)


def test_the_target_network_learns_by_copies_alone():
    agent = trained("dqn", target_update_interval=14)
    assert not any(parameter.requires_grad for parameter in agent.target.parameters())
    assert all(parameter.grad is None for parameter in agent.target.parameters())


def test_the_target_network_is_copied_exactly_every_target_period():
    agent = warmed_up(gradient_steps=4, target_update_interval=24)
    copied, load = [], agent.target.load_state_dict

    def note(state):
        copied.append(agent.num_updates)
        assert all(torch.equal(state[key], now) for key, now in agent.online.state_dict().items())
        return load(state)

    agent.target.load_state_dict = note
    agent.learn(160)  # ten rounds of 16 environment steps
    agent.close()
    assert agent.num_updates == 40
    assert copied == [6, 12, 18, 24, 30, 36]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # An update of 4 gradient steps goes with 16 environment steps: 4 steps each.
        ({"gradient_steps": 4, "target_update_interval": 24}, [6, 12, 18, 24, 30, 36]),
        ({"gradient_steps": 4, "target_update_interval": 50}, [13, 25, 38]),  # 12.5, 25, 37.5
        ({"gradient_steps": 4, "target_update_interval": 1}, list(range(1, 41))),
        # 2 environments make 8 steps in an update; 20 updates in 160 steps. 2 gradient steps each.
        (
            {"gradient_steps": 4, "target_update_interval": 24, "num_envs": 2},
            list(range(12, 81, 12)),
        ),
        ({"gradient_steps": 1, "target_update_interval": 40}, [3, 5, 8, 10]),  # 2.5, 5, 7.5, 10
    ],
)
def test_the_target_network_is_copied_every_so_many_environment_steps(settings, expected):
    agent = warmed_up(**settings)
    copied, load = [], agent.target.load_state_dict
    agent.target.load_state_dict = lambda state: (copied.append(agent.num_updates), load(state))
    agent.learn(160)
    agent.close()
    assert copied == expected


# Prioritised replay.


def test_what_was_drawn_is_left_with_its_surprise_as_priority():
    agent = warmed_up(prioritized_replay=True, gradient_steps=1, per_alpha=0.7)
    draws, plain = recorded(agent), Plain(agent)
    for done in (0.0, 0.5):
        before = agent._tree.get(torch.arange(64))
        agent._update(done, 1e-2 * (1 - done))
        [where] = draws[-1].where
        _, td_error = plain.update(draws[-1], 0, done)
        expected = before.clone()
        expected[where] = (td_error.double() + 1e-6) ** 0.7
        torch.testing.assert_close(agent._tree.get(torch.arange(64)), expected, rtol=1e-4, atol=0)
        assert agent._tree.highest.item() == pytest.approx(
            max(1.0, expected.max().item()), rel=1e-4
        )


def test_new_steps_are_as_urgent_as_what_surprised_most_and_resets_never():
    mode = AutoresetMode.NEXT_STEP
    agent = build("dqn", walk(mode, rewards=(9.0, 0.0, 0.0)), prioritized_replay=True).learn(256)
    assert agent._tree.highest > 1
    steps, actions = explored(agent, 12, 1.0)
    agent._store(steps, actions)
    found = agent._tree.get(256 + torch.arange(48)).view(12, 4)
    valid = steps.valid
    assert (~valid).sum() == 8  # of 12 rows every sixth only reset, which one by environment
    torch.testing.assert_close(found, valid.double() * agent._tree.highest, rtol=1e-6, atol=0)


@pytest.mark.parametrize("prioritized_replay", [False, True])
def test_steps_that_were_only_a_reset_teach_nothing(prioritized_replay):
    agent = build("dqn", walk(AutoresetMode.NEXT_STEP), prioritized_replay=prioritized_replay)
    draws = recorded(agent) if agent.learn(64) else []
    agent.learn(256)
    agent.close()
    where = torch.cat([draw.where.flatten() for draw in draws])
    weight = agent._replay.get(where, 1, 0.9).weight
    # Every sixth step is a reset. Prioritised replay never draws it, other replay weighs it 0.
    assert len(where) > 1000
    resets = (weight == 0).float().mean().item()
    assert resets == 0.0 if prioritized_replay else 0.1 < resets < 0.23


# Rainbow and its atoms.


def test_rainbow_sets_every_switch():
    config = rainbow()
    assert config.double_q
    assert config.dueling
    assert config.prioritized_replay
    assert config.noisy_nets
    assert config.value_distribution == "c51"
    assert (config.n_step, config.per_alpha, config.adam_eps) == (3, 0.5, 1.5e-4)
    assert rainbow(n_step=5, noisy_nets=False) == replace(config, n_step=5, noisy_nets=False)
    agent = DQN(BALANCE, config)
    assert agent.online.value is not None
    assert agent.online.noisy
    assert agent.online.returns.width == 51


def test_noisy_weights_explore_instead_of_random_actions():
    agent = build("dqn", noisy_nets=True, exploration_final_eps=0.5)
    epsilon = [report.metrics["rollout/exploration_rate"] for report in agent.iterate(128)]
    agent.close()
    assert epsilon == [1.0] * 4 + [0.0] * 4  # but for the 64 steps of warm-up
    obs = np.full((500, 4), 0.1, np.float32)
    values = agent.q_values(obs)
    assert (values == values[0]).all()  # asked for its opinion it has but one
    for layer in (agent.online.advantage.layers[0], agent.online.advantage.layers[1]):
        torch.nn.init.constant_(layer.weight_sigma, 1.0)
    assert set(agent.predict(obs)[0].tolist()) == {0, 1}
    assert len(set(agent.predict(obs, deterministic=True)[0].tolist())) == 1


def span(agent):
    """The least and the greatest atom of both networks."""
    return [tuple(net.returns.support[[0, -1]].tolist()) for net in nets(agent)]


def nets(agent):
    return agent.online, agent.target


def test_rewards_that_only_come_after_the_warm_up_are_valued():
    # Rewards 0.01, 0, 0 during the warm-up and 1, 0, 0 after it, gamma 0.8. From state 0, 1 and 2:
    # V = 1 / (1 - 0.8^3) = 2.049, 0.64 V = 1.311 and 0.8 V = 1.639, below v_max = 4.
    config = {"value_distribution": "c51", "gamma": 0.8, "v_min": 0.0, "v_max": 4.0}
    agent = build("dqn", walk(rewards=(0.01, 0.0, 0.0)), **config, learning_rate=0.01).learn(64)
    agent.envs._envs._rewards = np.array([1.0, 0.0, 0.0])
    agent.learn(3_000)
    agent.close()
    expected = [2.049, 1.311, 1.639]
    assert agent.q_values(ALL_STATES).max(axis=1).tolist() == pytest.approx(expected, rel=0.03)


def test_atoms_are_spread_from_v_min_to_v_max():
    agent = build("dqn", walk(), value_distribution="c51", v_min=-3.0, v_max=7.0, n_atoms=6)
    for net in nets(agent):
        assert net.returns.support.tolist() == [-3.0, -1.0, 1.0, 3.0, 5.0, 7.0]


@pytest.mark.parametrize(
    ("env_id", "options", "expected"),
    [
        ("CartPole-v1", {}, (0.0, 100.0)),  # 1 a step: 1 / (1 - 0.99)
        ("CartPole-v1", {"gamma": 0.8}, (0.0, 5.0)),
        ("Acrobot-v1", {}, (-100.0, 0.0)),  # -1 a step
        ("robolearn/CartPoleBalance-v0", {}, (0.0, 100.0)),
        ("robolearn/CartPoleSwingUp-v0", {}, (0.0, 100.0)),  # at most 1 a step
        ("robolearn/NavLidar-v0", {"gamma": 0.98}, (-10.0, 15.0)),
        ("CartPole-v1", {"v_min": -1.0, "v_max": 9.0}, (-1.0, 9.0)),
    ],
)
def test_v_min_and_v_max_of_known_environments_need_not_be_given(env_id, options, expected):
    physics = ("robolearn/CartPole", "robolearn/Nav")
    env = EnvConfig(id=env_id, kwargs={"action": "discrete"} if env_id.startswith(physics) else {})
    agent = build("dqn", env, **{"value_distribution": "c51", "gamma": 0.99, **options})
    assert span(agent) == [pytest.approx(expected)] * 2
    assert (agent.config.v_min, agent.config.v_max) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("env", "options", "who"),
    [
        (walk(), {}, "these environments at gamma=0.99"),
        (EnvConfig(id="CartPole-v1"), {"gamma": 1.0}, "CartPole-v1 at gamma=1"),
    ],
)
def test_other_environments_ask_for_v_min_and_v_max(env, options, who):
    message = rf"needs v_min and v_max, .* for {who}.*, got None\. Give the least and the greatest"
    with pytest.raises(RobolearnError, match=message):
        build("dqn", env, value_distribution="c51", **options)
    build("dqn", walk(), **options)  # others have no atoms


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"v_min": 0.0}, "go together, got v_min=0.0 and v_max=None"),
        ({"v_max": 0.0}, "go together, got v_min=None and v_max=0.0"),
        ({"v_min": 2.0, "v_max": 2.0}, "v_min must be less than v_max, got v_min=2 and v_max=2"),
    ],
)
def test_v_min_and_v_max_that_span_nothing_are_refused(options, message):
    with pytest.raises(RobolearnError, match=message):
        DQNConfig(value_distribution="c51", **options)


def test_v_min_and_v_max_are_read_back(tmp_path):
    agent = trained("dqn", value_distribution="c51", gamma=0.8)
    agent.save(tmp_path / "agent")
    again = DQN.load(tmp_path / "agent", env=walk_like(agent))
    assert span(again) == span(agent) == [pytest.approx((0.0, 5.0))] * 2
    again.close()


def walk_like(agent):
    """Ready-made environments, of which nothing is known, with the agent's spaces."""
    return agent.envs.config.make_vec(4)


# PQN.


@every_mode
@pytest.mark.parametrize("q_lambda", [0.0, 0.65, 1.0])
@pytest.mark.parametrize("terminates", [False, True])
def test_pqn_learns_towards_lambda_returns(mode, q_lambda, terminates):
    env = walk(mode, rewards=(1.0, 2.0, -4.0), terminates=terminates)
    agent = build("pqn", env, q_lambda=q_lambda, gamma=0.9).learn(128)
    steps, actions = explored(agent, 13, 0.5)
    batch = agent._batch(steps, actions)
    valid = torch.ones_like(steps.done) if steps.valid is None else steps.valid
    obs, action, target = [], [], []
    for t in range(13):
        for i in range(4):
            if valid[t, i]:
                obs.append(steps.obs[t, i].numpy())
                action.append(actions[t, i].item())
                target.append(lambda_return(agent, steps, t, i))
    np.testing.assert_array_equal(batch.obs, obs)
    assert batch.action.tolist() == action
    np.testing.assert_allclose(batch.target, target, rtol=1e-5, atol=1e-5)
    assert np.std(target) > 0.5


def lambda_return(agent, steps, t, i):
    """Gallici et al. (2025), eq. of Q(lambda): what step t of an environment should be valued."""
    config, reward = agent.config, steps.reward[t, i].item()
    if steps.terminated[t, i]:
        return reward
    best = agent.q_values(steps.next_obs[t, i : i + 1].numpy()).max()
    last = steps.done[t, i] or t + 1 == len(steps.done)
    later = best if last else lambda_return(agent, steps, t + 1, i)
    mixed = (1 - config.q_lambda) * best + config.q_lambda * later
    return reward + config.gamma * mixed


def test_pqn_passes_over_its_rollout_in_shuffled_minibatches():
    # 16 rows of 4 environments are two minibatches of 32; two epochs make four gradient steps.
    agent = build("pqn").learn(64)
    agent.close()
    assert agent.parts().optimizer.moments["step"].item() == 4
