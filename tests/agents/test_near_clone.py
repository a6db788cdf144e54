"""Policies that learning began with: the critic learns alone at first, and they are stayed near."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_agents import build
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from robolearn.agents.ppo import PPOBatch, PPOConfig, ppo_loss
from robolearn.agents.saving import load_learning, save_learning
from robolearn.collect.cuda_graph import CudaGraph
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.fitting import fit
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
def test_while_the_critic_warms_up_it_alone_learns(env):
    # Of 8 rounds those that begin before half of learning is over are the first 4.
    where = {} if env is None else {"env": env}
    agent = build("ppo", critic_warmup_fraction=0.5, ent_coef=0.1, bc_kl_coef=1.0, **where)
    assert warmed(agent, 8) == [(False, True)] * 4 + [(True, True)] * 4


@pytest.mark.parametrize("env", [None, FORCED], ids=["discrete", "continuous"])
def test_without_a_warm_up_both_learn_from_the_first(env):
    where = {} if env is None else {"env": env}
    assert warmed(build("ppo", **where), 2) == [(True, True)] * 2


def test_while_the_critic_warms_up_the_policy_acts_as_before():
    """The observation normalizer stays as it is, too."""
    agent = build("ppo", critic_warmup_fraction=0.5)
    agent.net.encoder.update_normalization(OBS, even_frozen=True)
    first = agent.net.policy(agent.net.encoder(OBS)).detach()
    for k, _ in enumerate(agent.iterate(8 * 64)):
        now = agent.net.policy(agent.net.encoder(OBS)).detach()
        assert torch.equal(now, first) is (k < 4)
    agent.close()


def test_the_learning_rate_logged_is_the_one_used():
    # Of 8 updates 4 are the critic's warm-up; then the rate falls from 1e-3 at the start to 0 at
    # the end: half of it is left, then 3/8, 2/8, 1/8.
    agent = build("ppo", critic_warmup_fraction=0.5, critic_warmup_lr=0.05, learning_rate=1e-3)
    rates = [report.metrics["train/learning_rate"] for report in agent.iterate(8 * 64)]
    agent.close()
    assert rates == pytest.approx([0.05] * 4 + [5e-4, 3.75e-4, 2.5e-4, 1.25e-4])


def test_a_rate_that_adapts_to_changes_of_the_policy_waits_until_it_changes():
    # At rest it would be raised by half in each round, up to 0.01, and then be far too large.
    agent = build("ppo", lr_schedule="adaptive", desired_kl=0.01, critic_warmup_fraction=0.5)
    rates = [report.metrics["train/learning_rate"] for report in agent.iterate(8 * 64)]
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
        (0.0, 0.0, 0.0, 0.0),  # falls at once
        (0.9, 0.0, None, 2.0),  # never falls
    ],
)
def test_the_loss_is_the_policys_with_entropy_and_divergence(done, warmup, fraction, weight):
    # The weight of 2 falls to 0 over a part of learning: 2 * (1 - 0.2 / 0.5) = 1.2. A warm-up of
    # half of it is not counted: at 0.6, (0.6 - 0.5) / 0.5 = 0.2 of the rest is over.
    how = {"bc_kl_anneal_fraction": fraction, "critic_warmup_fraction": warmup, "ent_coef": 0.25}
    agent = build("ppo", bc_kl_coef=2.0, **how)
    agent.progress = done
    agent._ref_kl_coef = agent._scheduled_ref_kl_coef()
    cloned, output = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    now, then = Categorical(logits=output), Categorical(logits=cloned)
    expected = 7.0 + (weight * kl_divergence(then, now) - 0.25 * now.entropy()).mean()
    found = loss_of(agent, output, cloned, torch.tensor([0, 1, 0]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_loss_of_continuous_policies_is_kept_near_by_normals():
    # The clone's deviation is 0.5 and stays so; the learner's has become 0.25.
    agent = build("ppo", FORCED, bc_kl_coef=2.0, init_std=0.5)
    agent._ref_kl_coef = 2.0
    with torch.no_grad():
        agent.net.head.log_std.fill_(np.log(0.25))
    cloned, output = torch.randn(2, 3, 1, generator=torch.Generator().manual_seed(0))
    then, now = Independent(Normal(cloned, 0.5), 1), Independent(Normal(output, 0.25), 1)
    expected = 7.0 + 2.0 * kl_divergence(then, now).mean()
    kept = agent.ref_policy.head.distribution_params(cloned)
    found = loss_of(agent, output, kept, torch.zeros(3, 1))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def loss_of(agent, output, ref_params, action):
    """Return PPO's loss where the policy puts out ``output``, of advantages -7 and ratios 1."""
    head, none = agent.net.head, torch.zeros(3)
    net = SimpleNamespace(policy=lambda _: output, critic=lambda _: none[:, None], head=head)
    log_prob = head.log_prob(output, action)
    batch = PPOBatch(none[:, None], action, none - 7.0, none, none, log_prob, ref_params)
    coef = agent._ref_kl_coef
    return ppo_loss(net, agent.config, none[:, None], batch, ref_kl_coef=coef)[0]


def strayed(agent, first):
    """Return the mean divergence from a policy, in nats."""
    with torch.no_grad():
        output = agent.net.policy(agent.net.encoder(OBS))
        return kl_divergence(Categorical(logits=first), Categorical(logits=output)).mean().item()


@pytest.mark.slow
def test_a_policy_that_is_to_stay_near_its_clone_strays_less():
    found = []
    for weight in (0.0, 30.0):
        agent = build("ppo", bc_kl_coef=weight, bc_kl_anneal_fraction=1.0, freeze_obs_norm=True)
        with torch.no_grad():  # someone who knows what to do
            agent.net.policy[-1].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 16))
        agent.set_reference_policy()
        first = agent.net.policy(agent.net.encoder(OBS)).detach()
        agent.learn(4096)
        agent.close()
        found.append(strayed(agent, first))
    free, near = found
    assert 0 < near < free / 3


def test_learning_begins_where_it_is_told_to():
    agent = build("ppo", bc_kl_coef=1.0).learn(128)
    assert changed(agent.net, held(agent.ref_policy))
    assert agent.parts().optimizer.moments["step"] > 0
    agent.set_reference_policy()
    assert not changed(agent.net, held(agent.ref_policy))
    assert agent.parts().optimizer.moments["step"] == 0  # which remembers nothing
    clone, net = held(agent.ref_policy), held(agent.net)
    agent.learn(128)
    agent.close()
    assert changed(agent.net, net) == set(net)
    assert not changed(agent.ref_policy, clone)
    assert not any(parameter.requires_grad for parameter in agent.ref_policy.parameters())


def test_what_a_capture_holds_is_what_learning_that_begins_anew_learns():
    # A CUDA graph reads and writes the same storage for ever: that of its capture.
    agent = build("ppo").learn(128)
    graphed = agent._run_iteration = CudaGraph(agent._iteration, capture=False)
    graphed._calls[()] = 3
    place = agent.net.policy[0].weight.data_ptr()
    for _ in fit(agent.net, lambda rows: loss(agent), 8, updates=2, batch=4, **FIT):
        pass
    assert agent.net.policy[0].weight.data_ptr() != place
    agent.set_reference_policy()
    assert agent.net.policy[0].weight.data_ptr() == place
    assert graphed._calls == {(): 3}
    agent.net.policy[0].requires_grad_(False)  # other parameters: what was captured is dropped
    agent.set_reference_policy()
    assert graphed._calls == {}
    agent.learn(128)
    agent.close()


FIT = {"learning_rate": 1e-2, "rng": torch.Generator().manual_seed(0)}


def loss(agent):
    """Any loss that depends on all of an agent's parameters."""
    return sum(parameter.square().sum() for parameter in agent.net.parameters())


def test_without_a_wish_to_stay_near_there_is_no_clone():
    agent = build("ppo")
    agent.set_reference_policy()
    assert agent.ref_policy is None
    assert agent.parts().modules.keys() == {"net"}


def test_a_clone_is_put_away_and_taken_up_and_learning_goes_on_bit_for_bit(tmp_path):
    agent = build(
        "ppo", bc_kl_coef=5.0, bc_kl_anneal_fraction=1.0, critic_warmup_fraction=0.3, n_steps=16
    )
    agent.net.encoder.update_normalization(OBS, even_frozen=True)
    agent.set_reference_policy()
    clone = held(agent.ref_policy)
    for k, _ in enumerate(agent.iterate(1024)):
        if k == 1:
            save_learning(agent, tmp_path / "half", {})
            half = agent.steps
    stored = read_checkpoint(tmp_path / "half")[1]
    assert all(torch.equal(stored["ref_policy"][name], tensor) for name, tensor in clone.items())
    again, _, exact = load_learning(type(agent), tmp_path / "half", "auto")
    assert (exact, again.steps) == (True, half)
    assert not changed(again.ref_policy, clone)
    assert changed(again.net, clone)
    for _ in again.continue_learning():
        pass
    for one in (agent, again):
        one.close()
    assert not changed(again.net, held(agent.net))
    assert not changed(again.ref_policy, clone)


def test_a_memory_cannot_be_kept_near_a_clone():
    with pytest.raises(
        RobolearnError, match=r"bc_kl_coef needs a policy without a GRU, got gru_hidden_size=8"
    ):
        build("ppo", gru_hidden_size=8, bc_kl_coef=1.0)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("bc_kl_coef", -1.0),
        ("bc_kl_anneal_fraction", 1.5),
        ("bc_kl_anneal_fraction", -0.1),
        ("critic_warmup_fraction", 1.5),
    ],
)
def test_senseless_settings_are_refused(name, number):
    with pytest.raises(RobolearnError, match=f"{name} must"):
        PPOConfig(**{name: number})


def test_perception_is_not_the_critics_to_change_while_it_warms_up():
    agent = build("ppo", critic_warmup_fraction=0.5, gru_hidden_size=8)
    before = {name: held.clone() for name, held in agent.net.memory.state_dict().items()}
    for k, _ in enumerate(agent.iterate(8 * 64)):
        after = agent.net.memory.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before) is (k < 4)
    agent.close()
