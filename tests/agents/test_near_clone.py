"""Policies that learning began with: the critic learns alone at first, and they are stayed near."""

import numpy as np
import pytest
import torch
from small_agents import build, every_policy
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from robolearn.agents.on_policy import PolicyConfig
from robolearn.agents.saving import load_learning, save_learning
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.runs.checkpoint import read_checkpoint

OBS = torch.from_numpy(np.random.default_rng(0).uniform(-0.2, 0.2, (50, 4)).astype(np.float32))
FORCED = EnvConfig(
    id="robolearn/CartPoleBalance-v0", engine="analytic", kwargs={"action": "continuous"}
)


def held(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module, before):
    return {name for name, t in module.state_dict().items() if not torch.equal(t, before[name])}


def warmed(agent, rounds):
    """Return which tensors of the policy, and of the critic, changed in each round."""
    found, net = [], agent.net
    before = held(net)
    steps = rounds * agent.config.rollout_size
    for _ in agent.iterate(steps):
        names = changed(net, before)
        policy = {n for n in names if n.startswith(("policy", "head"))}
        found.append(
            (
                bool(policy),
                {n for n in net.critic.state_dict()} <= {n.removeprefix("critic.") for n in names},
            )
        )
        before = held(net)
    agent.close()
    return found


@pytest.mark.parametrize("env", [None, FORCED], ids=["discrete", "continuous"])
@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_while_the_critic_warms_up_it_alone_learns(name, env):
    # Of 8 rounds those that begin before half of learning is over are the first 4.
    where = {} if env is None else {"env": env}
    agent = build(name, critic_warmup=0.5, entropy=0.1, clone_kl=1.0, **where)
    assert warmed(agent, 8) == [(False, True)] * 4 + [(True, True)] * 4


@pytest.mark.parametrize("env", [None, FORCED], ids=["discrete", "continuous"])
def test_without_a_warm_up_both_learn_from_the_first(env):
    where = {} if env is None else {"env": env}
    assert warmed(build("ppo", **where), 2) == [(True, True)] * 2


def test_what_is_not_observed_anew_is_done_anew_after_a_warm_up():
    """With the moments kept, the policy tells the very same until the critic is warm."""
    agent = build("ppo", critic_warmup=0.5, keep_moments=True)
    agent.net.perception.take_moments(OBS)
    first = agent.net.policy(agent.net.perception(OBS)).detach()
    for k, _ in enumerate(agent.iterate(8 * 64)):
        now = agent.net.policy(agent.net.perception(OBS)).detach()
        assert torch.equal(now, first) is (k < 4)
    agent.close()


def test_a_rate_that_adapts_to_changes_of_the_policy_waits_until_it_changes():
    # At rest it would be raised by half in each round, up to 0.01, and then be far too large.
    agent = build("ppo", target_kl=0.01, critic_warmup=0.5)
    rates = [report.metrics["learning_rate"] for report in agent.iterate(8 * 64)]
    agent.close()
    assert rates[:5] == [1e-3] * 5
    assert rates[5:] != [1e-3] * 3


# Near the clone.


@pytest.mark.parametrize(
    ("done", "warmup", "fraction", "weight"),
    [
        (0.0, 0.0, 0.5, 2.0),
        (0.2, 0.0, 0.5, 1.2),
        (0.6, 0.0, 0.5, 0.0),
        (0.6, 0.0, 1.0, 0.8),
        (0.6, 0.5, 0.5, 1.2),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_is_the_policys_with_entropy_and_divergence(
    done, warmup, fraction, weight, weighted
):
    # The weight of 2 falls to 0 over a part of learning: 2 * (1 - 0.2 / 0.5) = 1.2. A warm-up of
    # half of it is not counted: at 0.6, (0.6 - 0.5) / 0.5 = 0.2 of the rest is over.
    how = {"clone_fraction": fraction, "critic_warmup": warmup, "entropy": 0.25}
    agent = build("ppo", clone_kl=2.0, **how)
    agent.done = done
    cloned, output = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    now, then = Categorical(logits=output), Categorical(logits=cloned)
    share = torch.tensor([0.5, 0.3, 0.2]) if weighted else torch.full((3,), 1 / 3)
    expected = 7.0 + (share * (weight * kl_divergence(then, now) - 0.25 * now.entropy())).sum()
    found = agent._objective(torch.tensor(7.0), output, cloned, *([share] if weighted else []))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_objective_of_continuous_policies_is_kept_near_by_normals():
    agent = build("ppo", FORCED, clone_kl=2.0, initial_std=0.5)
    cloned, output = torch.randn(2, 3, 1, generator=torch.Generator().manual_seed(0))
    then, now = (Independent(Normal(mean, 0.5), 1) for mean in (cloned, output))
    expected = 7.0 + 2.0 * kl_divergence(then, now).mean()
    found = agent._objective(torch.tensor(7.0), output, cloned)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def strayed(agent, first):
    """Return the mean divergence from a policy, in nats."""
    with torch.no_grad():
        output = agent.net.policy(agent.net.perception(OBS))
        return kl_divergence(Categorical(logits=first), Categorical(logits=output)).mean().item()


@pytest.mark.slow
@every_policy
def test_a_policy_that_is_to_stay_near_its_clone_strays_less(name):
    found = []
    for weight in (0.0, 30.0):
        agent = build(name, clone_kl=weight, clone_fraction=1.0, keep_moments=True)
        with torch.no_grad():  # someone who knows what to do
            agent.net.policy[-1].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 16))
        agent.begin_here()
        first = agent.net.policy(agent.net.perception(OBS)).detach()
        agent.learn(1024)
        agent.close()
        found.append(strayed(agent, first))
    free, near = found
    assert 0 < near < free / 3


def test_learning_begins_where_it_is_told_to():
    agent = build("ppo", clone_kl=1.0).learn(128)
    assert changed(agent.net, held(agent.clone))
    assert agent.parts().optimizer.state_dict()["state"]
    agent.begin_here()
    assert not changed(agent.net, held(agent.clone))
    assert not agent.parts().optimizer.state_dict()["state"]  # which remembers nothing
    clone, net = held(agent.clone), held(agent.net)
    agent.learn(128)
    agent.close()
    assert changed(agent.net, net) == set(net)
    assert not changed(agent.clone, clone)
    assert not any(parameter.requires_grad for parameter in agent.clone.parameters())


def test_without_a_wish_to_stay_near_there_is_no_clone():
    agent = build("ppo")
    agent.begin_here()
    assert agent.clone is None
    assert agent.parts().modules.keys() == {"net"}


@pytest.mark.slow
@every_policy
def test_a_clone_is_put_away_and_taken_up_and_learning_goes_on_bit_for_bit(name, tmp_path):
    agent = build(name, clone_kl=5.0, clone_fraction=1.0, critic_warmup=0.3, rollout_steps=16)
    agent.net.perception.take_moments(OBS)
    agent.begin_here()
    clone = held(agent.clone)
    for k, _ in enumerate(agent.iterate(1024)):
        if k == 1:
            save_learning(agent, tmp_path / "half", {})
            half = agent.steps
    stored = read_checkpoint(tmp_path / "half")[1]
    assert all(torch.equal(stored["clone"][name], tensor) for name, tensor in clone.items())
    again, _, exact = load_learning(type(agent), tmp_path / "half", "auto")
    assert (exact, again.steps) == (True, half)
    assert not changed(again.clone, clone)
    assert changed(again.net, clone)
    for _ in again.proceed():
        pass
    for one in (agent, again):
        one.close()
    assert not changed(again.net, held(agent.net))
    assert not changed(again.clone, clone)


def test_a_memory_cannot_be_kept_near_a_clone():
    with pytest.raises(RobolearnError, match=r"clone_kl needs a policy without .* memory=8"):
        build("ppo", memory=8, clone_kl=1.0)


@pytest.mark.parametrize(
    ("name", "number"),
    [("clone_kl", -1.0), ("clone_fraction", 1.5), ("clone_fraction", -0.1), ("critic_warmup", 1.5)],
)
def test_senseless_settings_are_refused(name, number):
    with pytest.raises(RobolearnError, match=f"{name} must"):
        PolicyConfig(**{name: number})


def test_perception_is_not_the_critics_to_change_while_it_warms_up():
    agent = build("ppo", critic_warmup=0.5, memory=8)
    before = {name: held.clone() for name, held in agent.net.memory.state_dict().items()}
    for k, _ in enumerate(agent.iterate(8 * 64)):
        after = agent.net.memory.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before) is (k < 4)
    agent.close()
