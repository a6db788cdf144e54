"""DQfD keeps demonstrations and learns from them what one minibatch, written out, would learn."""

from copy import deepcopy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from small_agents import BALANCE, build, explored, weights

from robolearn.accelerate import one_thread
from robolearn.agents import agent_class
from robolearn.agents.dqfd import DQfD, DQfDConfig, large_margin_loss
from robolearn.agents.dqn import DQNConfig
from robolearn.agents.load import load_agent
from robolearn.agents.saving import load_learning, save_learning
from robolearn.buffers.rollout_buffer import Step
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.defaults import imitating
from robolearn.imitation.runs import LEARNERS
from robolearn.runs.checkpoint import read_checkpoint


@pytest.fixture(autouse=True)
def one_thread_as_in_learning():
    with one_thread():
        yield


# The margin.


@pytest.mark.parametrize(
    ("q", "wanted", "expected", "slopes"),
    [
        # Another is best by itself: max(1, 3 + 0.5, 2 + 0.5) - 1.
        ([1.0, 3.0, 2.0], 0, 2.5, [-1.0, 1.0, 0.0]),
        # The wanted one is best, but not by the margin: 4.75 + 0.5 - 5.
        ([5.0, 4.75, 0.0], 0, 0.25, [-1.0, 1.0, 0.0]),
        # It is best by more than the margin: nothing is left to learn.
        ([1.0, 4.0, 3.25], 1, 0.0, [0.0, 0.0, 0.0]),
        # All are alike but the last, which is far below.
        ([2.0, 2.0, -9.0], 1, 0.5, [1.0, -1.0, 0.0]),
    ],
)
def test_margin_loss_by_hand(q, wanted, expected, slopes):
    told = torch.tensor([q, q], requires_grad=True)
    # Only the first of the two was shown, and counts for 3 / 4.
    share = torch.tensor([0.75, 0.0])
    loss = large_margin_loss(told, torch.tensor([wanted, 2]), 0.5, share)
    assert loss.item() == 0.75 * expected
    loss.backward()
    assert told.grad.tolist() == [[0.75 * slope for slope in slopes], [0.0, 0.0, 0.0]]


# An agent that was shown something.

SHOWN = 20


def demonstrated(count=SHOWN, seed=0):
    """Return demonstrated steps of random numbers with rewards of mean magnitude 2, and actions.

    The expert wanted 1 everywhere and did so but for every fourth step.
    """
    rng = np.random.default_rng(seed)
    obs, next_obs = rng.uniform(-1, 1, (2, count, 4)).astype(np.float32)
    reward = np.where(np.arange(count) % 2, 1.0, -3.0).astype(np.float32)
    done = np.arange(count) % 5 == 4
    steps = Step(obs, reward, next_obs, done & (np.arange(count) % 2 == 0), done, ~done | done)
    return steps, (np.arange(count) % 4 > 0).astype(np.int64), np.ones(count, np.int64)


def shown_to(**changes):
    """Return an agent that was shown ``SHOWN`` steps, and has made none."""
    options = {
        "gamma": 0.9,
        "batch_size": 16,
        "max_grad_norm": 0.5,
        "target_update_interval": 3 * 16 // changes.get("gradient_steps", 8),  # 3 gradient steps
        "num_demo_transitions": SHOWN,
    }
    agent = build("dqfd", **{**options, **changes})
    agent.add_demonstrations(*demonstrated())
    return agent


def recorded(agent):
    """Note where what an agent draws lies, and its priority then, from now on."""
    draws, draw = [], agent.sample_indices

    def note(count):
        where = draw(count)
        draws.append((where, agent._tree.get(where) if agent.config.prioritized_replay else None))
        return where

    agent.sample_indices = note
    return draws


def networks(agent):
    """Return copies of the online and the target network."""
    return deepcopy(agent.online), deepcopy(agent.target)


def plainly(agent, draws, before, *, margin_loss_coef, done, rate):
    """Make the gradient steps of some draws, one after the other, by PyTorch's own optimizer.

    Returns:
        The online network, by how much each drawn transition surprised, and the mean losses.
    """
    online, target = deepcopy(before)
    told = {"train/loss": [], "train/margin_loss": []}
    adam, config, replay = torch.optim.Adam(online.parameters()), agent.config, agent._replay
    rows, td_errors, made = torch.arange(config.batch_size), [], 0
    for where, priority in draws:
        for k in range(len(where)):
            batch = replay.get(where[k], config.n_step, config.gamma)
            weight = torch.ones(config.batch_size)
            if priority is not None:
                beta = config.per_beta_start + (1 - config.per_beta_start) * done
                weight = (1 / priority[k]) ** beta
                weight = (weight / weight.max()).float()
            with torch.no_grad():
                best = online.q(batch.next_obs).argmax(dim=1)
                goal = batch.reward + batch.discount * target.q(batch.next_obs)[rows, best]
            q = online.q(batch.obs)
            error = torch.nn.functional.smooth_l1_loss(
                q[rows, batch.action], goal, reduction="none"
            )
            raised = q + 0.8 * 2  # the margin, in mean rewards shown
            raised[:, 1] = q[:, 1]  # what was wanted everywhere
            short = (raised.max(dim=1).values - q[:, 1]) * (where[k] >= 512)  # not of own steps
            loss = (weight * (error + margin_loss_coef * short)).mean()
            if config.one_step_loss_coef:
                step = replay.get(where[k], 1, config.gamma)
                with torch.no_grad():
                    best = online.q(step.next_obs).argmax(dim=1)
                    goal_1 = step.reward + step.discount * target.q(step.next_obs)[rows, best]
                error_1 = torch.nn.functional.smooth_l1_loss(
                    q[rows, batch.action], goal_1, reduction="none"
                )
                loss = loss + config.one_step_loss_coef * (weight * error_1).mean()
            squares = sum((parameter**2).sum() for parameter in online.parameters())
            loss = loss + config.l2_coef * squares
            told["train/loss"].append((weight * error).mean().item())
            told["train/margin_loss"].append((weight * short).mean().item())
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(online.parameters(), config.max_grad_norm)
            adam.param_groups[0]["lr"] = rate
            adam.step()
            made += 1
            if made % 3 == 0:
                target.load_state_dict(online.state_dict())
            td_errors.append((q[rows, batch.action] - goal).abs().detach())
    return online, td_errors, {name: np.mean(losses) for name, losses in told.items()}


@pytest.mark.parametrize("prioritized_replay", [False, True])
@pytest.mark.parametrize(("done", "weight"), [(0.0, 2.0), (0.2, 1.2), (0.7, 0.0)])
def test_a_round_is_td_and_margin_of_its_minibatches(done, weight, prioritized_replay):
    # The margin's weight of 2 falls to 0 over half of learning: 2 * (1 - 0.2 / 0.5) = 1.2.
    agent = shown_to(
        margin_loss_coef=2.0,
        margin_anneal_fraction=0.5,
        prioritized_replay=prioritized_replay,
        gradient_steps=4,
    )
    steps, actions = explored(agent, 10, 1.0)
    agent._store(steps, actions)
    before, draws = networks(agent), recorded(agent)
    metrics = agent._update(done, 1e-2)
    online, _, losses = plainly(agent, draws, before, margin_loss_coef=weight, done=done, rate=1e-2)
    agent.close()
    assert metrics["train/loss"] == pytest.approx(losses["train/loss"], rel=1e-5)
    if weight:
        assert metrics["train/margin_loss"] == pytest.approx(losses["train/margin_loss"], rel=1e-5)
    else:
        assert "train/margin_loss" not in metrics
    drawn = torch.cat([where.flatten() for where, _ in draws])
    assert 0.1 < (drawn >= 512).float().mean() < 0.9  # some were shown, some were not
    for name, tensor in agent.online.state_dict().items():
        torch.testing.assert_close(tensor, online.state_dict()[name], rtol=0, atol=1e-6)
        assert name.startswith("encoder") or not torch.equal(tensor, before[0].state_dict()[name])


@pytest.mark.parametrize(
    "terms",
    [
        {"one_step_loss_coef": 0.7},
        {"l2_coef": 0.01},
        {"one_step_loss_coef": 1.0, "l2_coef": 0.02, "margin_loss_coef": 2.0},
    ],
    ids=["1-step", "L2", "all"],
)
def test_one_step_td_and_l2_are_added_to_the_loss(terms):
    agent = shown_to(prioritized_replay=True, gradient_steps=4, n_step=5, **terms)
    before, draws = networks(agent), recorded(agent)
    metrics = agent._update(0.0, 1e-2)
    margin = terms.get("margin_loss_coef", 0.0)
    online, _, losses = plainly(agent, draws, before, margin_loss_coef=margin, done=0.0, rate=1e-2)
    assert metrics["train/loss"] == pytest.approx(losses["train/loss"], rel=1e-5)
    for name, tensor in agent.online.state_dict().items():
        torch.testing.assert_close(tensor, online.state_dict()[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("env_id", "gamma", "v_max"),
    [("Acrobot-v1", 0.99, 100.0), ("robolearn/Bandit-v0", 0.5, 2.0)],
)
def test_atoms_of_sqil_span_the_returns_of_rewards_0_and_1(env_id, gamma, v_max):
    settings = {"value_distribution": "c51", "gamma": gamma, "sqil_rewards": True}
    agent = build("dqfd", EnvConfig(id=env_id), **settings)
    assert agent.online.returns.support[[0, -1]].tolist() == [0.0, pytest.approx(v_max)]
    assert (agent.config.v_min, agent.config.v_max) == (0.0, pytest.approx(v_max))
    with pytest.raises(RobolearnError, match=r"at gamma=1, got None\. Give the least"):
        build("dqfd", EnvConfig(id=env_id), **{**settings, "gamma": 1.0})


def test_dqn_itself_has_no_settings_of_demonstrations():
    added = {field.name for field in fields(DQfDConfig)} - {
        field.name for field in fields(DQNConfig)
    }
    assert added == {
        "num_demo_transitions",
        "demo_ratio",
        "demo_priority_bonus",
        "expert_margin",
        "margin_loss_coef",
        "margin_anneal_fraction",
        "one_step_loss_coef",
        "l2_coef",
        "sqil_rewards",
    }


def test_without_demonstrations_it_is_dqn():
    dqn, dqfd = (build(name, prioritized_replay=True).learn(256) for name in ("dqn", "dqfd"))
    for agent in (dqn, dqfd):
        agent.close()
    assert weights(dqn) == weights(dqfd)


def test_a_margin_that_does_not_fall_is_the_same_to_the_end():
    agent = shown_to(margin_loss_coef=2.0, gradient_steps=2)
    before, draws = networks(agent), recorded(agent)
    agent._update(0.99, 1e-2)
    online, *_ = plainly(agent, draws, before, margin_loss_coef=2.0, done=0.99, rate=1e-2)
    for name, tensor in agent.online.state_dict().items():
        torch.testing.assert_close(tensor, online.state_dict()[name], rtol=0, atol=1e-6)


def test_a_margin_that_falls_at_once_has_no_weight():
    agent = shown_to(margin_loss_coef=2.0, margin_anneal_fraction=0.0, gradient_steps=2)
    before, draws = networks(agent), recorded(agent)
    agent._update(0.0, 1e-2)
    online, *_ = plainly(agent, draws, before, margin_loss_coef=0.0, done=0.0, rate=1e-2)
    for name, tensor in agent.online.state_dict().items():
        torch.testing.assert_close(tensor, online.state_dict()[name], rtol=0, atol=1e-6)


def test_demonstrations_are_left_with_a_bonus_on_their_surprise_as_priority():
    # The bonus of 3 is in mean rewards shown, of magnitude 2: 6, and not for own steps.
    agent = shown_to(
        prioritized_replay=True, demo_priority_bonus=3.0, per_alpha=0.7, gradient_steps=1
    )
    agent._store(*explored(agent, 5, 1.0))
    everywhere = torch.cat([torch.arange(20), 512 + torch.arange(SHOWN)])
    expected = agent._tree.get(everywhere)
    assert expected.tolist() == [1.0] * 40  # at first all as if nothing had surprised more
    before, draws = networks(agent), recorded(agent)
    agent._update(0.0, 1e-3)
    _, [td_error], _ = plainly(agent, draws, before, margin_loss_coef=0.0, done=0.0, rate=1e-3)
    agent.close()
    [[where]] = [where for where, _ in draws]
    place = torch.where(where >= 512, where - 512 + 20, where)
    expected[place] = (td_error.double() + 1e-6 + 6.0 * (where >= 512)) ** 0.7
    assert 0 < (where >= 512).sum() < 16
    torch.testing.assert_close(agent._tree.get(everywhere), expected, rtol=1e-4, atol=0)


def test_of_each_minibatch_the_share_asked_for_is_demonstrated():
    agent = shown_to(demo_ratio=0.25)
    draws = recorded(agent)
    agent.learn(160)
    agent.close()
    where = torch.cat([where for where, _ in draws])
    assert where.shape == (8 * 160 // 16, 16)
    assert (where >= 512).sum(dim=1).tolist() == [4] * 80


def test_with_demonstrations_there_is_no_warm_up_of_random_actions():
    agent = shown_to(learning_starts=10_000, gradient_steps=3, exploration_initial_eps=0.5)
    reports = [report.metrics for report in agent.iterate(48)]
    agent.close()
    assert agent.num_updates == 9
    # 0.5 falls to 0.05 over a fifth of the steps, at the second of three rounds it is there.
    assert [report["rollout/exploration_rate"] for report in reports] == pytest.approx(
        [0.5, 0.05, 0.05]
    )


def test_demonstrations_are_worth_one_and_own_steps_nothing_if_no_reward_is_told():
    agent = shown_to(sqil_rewards=True)
    agent._store(*explored(agent, 5, 1.0))
    agent.close()
    own, told = torch.arange(20), 512 + torch.arange(SHOWN)
    assert agent._replay.get(told, 1, 0.9).reward.tolist() == [1.0] * SHOWN
    assert agent._replay.get(own, 1, 0.9).reward.tolist() == [0.0] * 20
    told_of = shown_to()
    told_of._store(*explored(told_of, 5, 1.0))
    told_of.close()
    assert told_of._replay.get(own, 1, 0.9).reward.tolist() == [1.0] * 20
    assert told_of._replay.get(told, 1, 0.9).reward.tolist() == [-3.0, 1.0] * 10


def test_without_demonstrations_their_settings_change_nothing():
    changes = {
        "demo_priority_bonus": 9.0,
        "expert_margin": 5.0,
        "margin_loss_coef": 3.0,
        "margin_anneal_fraction": 0.5,
    }
    one, other = (
        build("dqfd", prioritized_replay=True, **settings).learn(256) for settings in ({}, changes)
    )
    for agent in (one, other):
        agent.close()
    assert weights(one) == weights(other)
    assert torch.equal(one._tree._node, other._tree._node)


def test_showing_tells_what_observations_are_like_and_what_was_done_and_wanted():
    steps, action, wanted = demonstrated()
    agent = shown_to(freeze_obs_norm=True)
    seen = agent.online.encoder.observations
    np.testing.assert_allclose(seen.mean, steps.obs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(seen.variance, steps.obs.var(axis=0), rtol=1e-6)
    assert weights_of(agent.target) == weights_of(agent.online)
    where = 512 + torch.arange(SHOWN)
    assert agent._replay.get(where, 1, 0.9).action.tolist() == action.tolist()
    assert agent._replay.expert_actions(where).tolist() == wanted.tolist()
    agent.learn(160)
    assert seen.count.item() == SHOWN
    free = shown_to().learn(160)
    for one in (agent, free):
        one.close()
    assert free.online.encoder.observations.count.item() == SHOWN + 160


def weights_of(module):
    return {name: tensor.tolist() for name, tensor in module.state_dict().items()}


def test_pretraining_takes_gradient_steps_on_demonstrations_and_none_in_the_environment():
    agent = shown_to(gradient_steps=4)
    draws, before = recorded(agent), weights_of(agent.online)
    reports = list(agent.pretrain(10, 1e-2))
    # 10 updates are three rounds of 4; the rate falls from 0.01 by a third in each.
    assert agent.num_updates == 12
    rates = [report["train/learning_rate"] for report in reports]
    assert rates == pytest.approx([1e-2, 1e-2 * 2 / 3, 1e-2 / 3])
    assert (agent.steps, agent._replay.num_collected) == (0, 0)
    assert agent.envs._envs is None  # they were not even made
    where = torch.cat([where.flatten() for where, _ in draws])
    assert len(where) == 12 * 16
    assert bool((where >= 512).all())
    assert weights_of(agent.online) != before


@pytest.mark.slow
@pytest.mark.parametrize("returns", ["none", "c51", "qr"])
def test_a_pretrained_agent_does_what_was_wanted_not_what_was_done(returns):
    agent = shown_to(margin_loss_coef=20.0, value_distribution=returns, v_min=-30.0, v_max=10.0)
    for _ in agent.pretrain(200, 1e-2):
        pass
    steps, action, wanted = demonstrated()
    assert agent.predict(steps.obs, deterministic=True)[0].tolist() == wanted.tolist()
    assert action.tolist() != wanted.tolist()


def test_the_number_of_demonstrated_steps_must_be_the_one_announced():
    agent = build("dqfd", num_demo_transitions=7)
    with pytest.raises(ValueError, match="room for 7 steps, got 20"):
        agent.add_demonstrations(*demonstrated())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_demo_transitions": -1}, "num_demo_transitions must"),
        ({"demo_ratio": 1.5}, "demo_ratio must"),
        ({"demo_priority_bonus": -1.0}, "demo_priority_bonus must"),
        ({"expert_margin": -0.1}, "expert_margin must"),
        ({"margin_loss_coef": -0.1}, "margin_loss_coef must"),
        ({"one_step_loss_coef": -0.1}, "one_step_loss_coef must"),
        ({"l2_coef": -0.1}, "l2_coef must"),
        ({"margin_anneal_fraction": 1.1}, "margin_anneal_fraction must"),
        (
            {"prioritized_replay": True, "demo_ratio": 0.5},
            "prioritized_replay and demo_ratio exclude",
        ),
    ],
)
def test_senseless_settings_are_refused(changes, message):
    with pytest.raises(RobolearnError, match=message):
        DQfDConfig(**changes)


@pytest.mark.parametrize("learner", ["dqfd", "mixed", "sqil", "jump-start"])
@pytest.mark.parametrize("env_id", ["LunarLander-v3", "Acrobot-v1", BALANCE.id])
def test_what_suits_learners_and_environments_goes_together(learner, env_id):
    agent = LEARNERS[learner].agent
    config = agent_class(agent).Config(**imitating(learner, agent, env_id))
    assert config.prioritized_replay is (
        learner == "dqfd" or (learner == "jump-start" and env_id != BALANCE.id)
    )


# Put away and taken up again.


def tensors_of(agent):
    held = {name: module.state_dict() for name, module in agent.parts().modules.items()}
    held |= {name: keeper.state() for name, keeper in agent.parts().keepers.items()}
    return {
        (part, key): t
        for part, group in {**held, "adam": agent.parts().optimizer.moments}.items()
        for key, t in group.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("stop", [64, 160])
def test_a_stopped_run_with_demonstrations_goes_on_bit_for_bit(stop, tmp_path):
    options = {
        "margin_loss_coef": 5.0,
        "margin_anneal_fraction": 0.8,
        "prioritized_replay": True,
        "buffer_size": 128,
    }
    agent = shown_to(**options)
    for _ in agent.pretrain(24, 1e-2):
        pass
    for progress in agent.iterate(320):
        if progress.steps == stop:
            save_learning(agent, tmp_path / "half", {})
    again, _, exact = load_learning(DQfD, tmp_path / "half", "auto")
    assert (exact, again.steps, again._replay.num_demos) == (True, stop, SHOWN)
    assert [progress.steps for progress in again.continue_learning()][-1] == 320
    for one in (agent, again):
        one.close()
    ours, theirs = tensors_of(agent), tensors_of(again)
    assert ours.keys() == theirs.keys()
    assert [key for key, tensor in ours.items() if not torch.equal(tensor, theirs[key])] == []
    assert agent.num_updates == again.num_updates == 24 + 8 * 20


def test_a_checkpoint_holds_the_demonstrations(tmp_path):
    agent = shown_to().learn(32)
    save_learning(agent, tmp_path / "agent", {})
    agent.close()
    held = read_checkpoint(tmp_path / "agent")[1]["replay"]
    steps, action, wanted = demonstrated()
    np.testing.assert_array_equal(held["demo.obs"], steps.obs)
    np.testing.assert_array_equal(held["demo.reward"], steps.reward)
    np.testing.assert_array_equal(held["demo.action"], action)
    np.testing.assert_array_equal(held["expert_action"], wanted)


def test_an_agent_read_back_to_act_does_so_and_learns_on_without_demonstrations(tmp_path):
    agent = shown_to(margin_loss_coef=5.0, prioritized_replay=True).learn(64)
    agent.save(tmp_path / "agent")
    again = load_agent(tmp_path / "agent")
    obs = demonstrated()[0].obs
    np.testing.assert_array_equal(again.q_values(obs), agent.q_values(obs))
    again.learn(64)
    for one in (agent, again):
        one.close()
    assert (again.steps, again._replay.num_demos) == (128, 0)


def test_a_config_survives_being_replaced_with_another_number_of_environments():
    config = replace(
        DQfDConfig(num_demo_transitions=5, demo_ratio=0.5, sqil_rewards=True), num_envs=3
    )
    assert (config.num_demo_transitions, config.demo_ratio, config.sqil_rewards) == (5, 0.5, True)
