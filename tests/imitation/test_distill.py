"""A small network is taught what a large one tells, by divergences that are worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.distill import (
    DistillConfig,
    Model,
    acting_size,
    categorical_kl,
    distill,
    gaussian_kl,
    policy_kl,
    regression,
    watch,
)
from robolearn.networks.actor_critic import CategoricalDistribution, GaussianDistribution

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
PUSHED = replace(BALANCE, kwargs={"action": "continuous"})
LARGE = {
    "ppo": PPOConfig(num_envs=8, n_steps=8, batch_size=32, hidden_sizes=(32, 32)),
    "dqn": DQNConfig(
        num_envs=8, learning_starts=64, batch_size=32, hidden_sizes=(32, 32), buffer_size=512
    ),
}
QUICK = DistillConfig(
    hidden=(12,), rounds=2, steps=400, updates=150, batch=64, distill_rate=1e-2, temperature=1.0
)
OBS = np.random.default_rng(0).uniform(-0.2, 0.2, (200, 4)).astype(np.float32)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


# The losses.


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_divergence_of_logits_by_hand(temperature):
    # softmax((0, ln 3)) = (1/4, 3/4), of (0, 0) it is (1/2, 1/2).
    # KL = 1/4 ln(1/2) + 3/4 ln(3/2); and the other way round 1/2 ln 2 + 1/2 ln(2/3).
    certain = temperature * torch.tensor([[0.0, math.log(3)]])
    even = torch.tensor([[5.0, 5.0]])
    forward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    backward = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert categorical_kl(certain, even, temperature).tolist() == pytest.approx([forward])
    assert categorical_kl(even, certain, temperature).tolist() == pytest.approx([backward])


def test_the_divergence_of_normals_by_hand():
    # sigma_t = 1, sigma_s = 2, means 3 apart: ln 2 + (1 + 9) / 8 - 1/2. Of two coordinates with
    # the second the same for both, the sum. With T = 3 the distance counts a third: (1 + 3) / 8.
    taught = torch.tensor([1.0, 7.0]), torch.tensor([0.0, 0.5])
    told = torch.tensor([4.0, 7.0]), torch.tensor([math.log(2), 0.5])
    assert gaussian_kl(taught, told, 1.0).item() == pytest.approx(math.log(2) + 10 / 8 - 0.5)
    assert gaussian_kl(taught, told, 3.0).item() == pytest.approx(math.log(2) + 4 / 8 - 0.5)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_divergence_of_normals_is_that_of_normals_with_larger_deviations(temperature):
    means, logs = randn(2, 5, 3), 0.5 * randn(2, 5, 3, seed=1)
    widened = [Normal(m, s.exp() * temperature**0.5) for m, s in zip(means, logs, strict=True)]
    ours = gaussian_kl((means[0], logs[0]), (means[1], logs[1]), temperature)
    torch.testing.assert_close(ours, kl_divergence(*widened).sum(-1), rtol=1e-4, atol=1e-5)


def test_heads_say_what_their_outputs_mean():
    teacher = GaussianDistribution(2, init_std=0.5)
    student = GaussianDistribution(
        2, init_std=2.0, state_dependent_std=True
    )  # of deviations, after the means
    taught, told = randn(4, 2), randn(4, 4, seed=1)
    normals = Normal(taught, torch.tensor(0.5)), Normal(told[:, :2], 2.0 * told[:, 2:].exp())
    ours = policy_kl(teacher, taught, student, told, 1.0)
    torch.testing.assert_close(ours, kl_divergence(*normals).sum(-1), rtol=1e-4, atol=1e-5)
    logits, others = randn(4, 3), randn(4, 3, seed=2)
    discrete = policy_kl(
        CategoricalDistribution(3), logits, CategoricalDistribution(3), others, 2.0
    )
    assert torch.equal(discrete, categorical_kl(logits, others, 2.0))


def test_regression_by_hand():
    # (1^2 + 3^2) / 2.
    assert regression(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 5.0]])).tolist() == [5.0]


# Students.


def teacher_of(name, env=BALANCE):
    """Who has learned little, and tells much: its outputs are made large."""
    agent = {"ppo": PPO, "dqn": DQN}[name](env, LARGE[name], seed=1).learn(256)
    agent.close()
    last = agent.net.policy[-1] if name == "ppo" else agent.online.advantage.layers[-1]
    with torch.no_grad():
        last.weight.mul_(30.0 if name == "ppo" else 3.0)
    return agent


@pytest.fixture(scope="module")
def teachers():
    """Teachers, which the tests leave as they are."""
    envs = {"ppo": BALANCE, "pushing": PUSHED, "dqn": BALANCE}
    return {kind: teacher_of("dqn" if kind == "dqn" else "ppo", env) for kind, env in envs.items()}


def outputs(agent):
    with torch.no_grad():
        obs = torch.from_numpy(OBS)
        if isinstance(agent, DQN):
            return agent.online.q(obs)
        output = agent.net.policy(agent.net.encoder(obs))
    return output.log_softmax(dim=-1) if output.shape[-1] > 1 else output


def weights(agent):
    return {
        f"{name}.{key}": held.clone()
        for name, module in agent.parts().modules.items()
        for key, held in module.state_dict().items()
    }


def parameters(agent):
    """What acts, without moments and critics."""
    net = agent.net.policy if isinstance(agent, PPO) else agent.online
    return list(net.parameters())


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(held, other[name]) for name, held in one.items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ppo", "pushing", "dqn"])
@pytest.mark.parametrize("loss", ["divergence", "regression"])
def test_a_small_student_comes_to_tell_what_the_teacher_tells(teachers, kind, loss):
    teacher = teachers[kind]
    student = distill(teacher, replace(QUICK, loss=loss), seed=3)
    assert acting_size(student) < 0.1 * acting_size(teacher)
    taught, told = outputs(teacher), outputs(student)
    if kind != "pushing" and loss == "divergence":  # which sees differences of actions only
        taught, told = (each - each.mean(dim=-1, keepdim=True) for each in (taught, told))
    unexplained = (taught - told).square().mean() / taught.var(dim=0).mean()
    assert unexplained < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_the_same_seed_gives_the_same_student_and_leaves_the_teacher_alone(teachers, kind):
    before = weights(teachers[kind])
    streams = [g.get_state() for g in teachers[kind].parts().generators.values()]
    config = replace(QUICK, updates=20)
    one, again, other = (distill(teachers[kind], config, seed=seed) for seed in (3, 3, 4))
    assert same(weights(one), weights(again))
    assert not same(weights(one), weights(other))
    assert same(weights(teachers[kind]), before)
    now = [g.get_state() for g in teachers[kind].parts().generators.values()]
    assert all(map(torch.equal, now, streams))


@pytest.mark.parametrize("env", [BALANCE, PUSHED], ids=["discrete", "continuous"])
def test_the_student_acts_in_its_part_of_the_environments_and_the_teacher_tells_of_all(env):
    agent = PPO(env, LARGE["ppo"])
    ways = [(0, 1), (0.0, 1.0)][env is PUSHED]  # left or not; not, or to the right

    def model(told, way):
        shape = (-1,) if env is BALANCE else (-1, 1)
        return Model(
            agent.net,
            lambda obs: torch.full((len(obs), 2), told),
            lambda output, rng: torch.full((len(output),), ways[way]).view(shape),
        )

    obs, taught = watch(agent, model(3.0, way=0), model(5.0, way=1), 40, 0.25, rng())
    agent.close()
    assert obs.shape == (40, 4)
    assert (taught == 3.0).all()
    x_dot = obs.view(5, 8, 4)[-1, :, 1]  # m/s, of 8 environments after 4 steps
    assert x_dot[:2].min() > x_dot[2:].max() + 0.2


@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_a_student_is_saved_read_back_and_goes_on_learning(teachers, kind, tmp_path):
    student = distill(teachers[kind], replace(QUICK, updates=20), seed=3)
    student.save(tmp_path / "student")
    again = load_agent(tmp_path / "student")
    assert same(weights(student), weights(again))
    assert again.config.hidden_sizes == QUICK.hidden
    for agent in (student, again):
        agent.learn(128)
        agent.close()
        first, taught = parameters(agent), parameters(load_agent(tmp_path / "student"))
        assert not any(map(torch.equal, first, taught))


def test_a_q_learners_student_bootstraps_from_what_it_was_taught(teachers):
    student = distill(teachers["dqn"], replace(QUICK, updates=20), seed=3)
    assert same(student.online.state_dict(), student.target.state_dict())


def test_the_atoms_of_the_teacher_are_the_students():
    config = replace(LARGE["dqn"], value_distribution="c51", n_atoms=11, v_min=0.0, v_max=40.0)
    teacher = DQN(BALANCE, config, seed=1).learn(256)
    teacher.close()
    student = distill(teacher, replace(QUICK, updates=20, loss="regression"), seed=3)
    assert torch.equal(student.online.returns.support, teacher.online.returns.support)
    assert student.online.returns.support[-1] == 40.0


def test_who_decides_on_actions_is_counted():
    # 4 observations, 2 actions. 4*32+32 + 32*32+32 + 32*2+2 = 1282 of a policy.
    assert acting_size(PPO(BALANCE, LARGE["ppo"])) == 1282
    # A Q-network has a gain and a bias for each of its 64 normalized hidden units besides.
    normalized = replace(LARGE["dqn"], layer_norm=True)
    assert acting_size(DQN(BALANCE, normalized)) == 1282 + 128


def test_a_teacher_with_a_memory_is_refused():
    teacher = PPO(BALANCE, replace(LARGE["ppo"], gru_hidden_size=8))
    with pytest.raises(RobolearnError, match="must have no GRU, got gru_hidden_size=8"):
        distill(teacher, QUICK)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"loss": "divergance"}, "divergence"), ({"student_share": 1.5}, "student_share must lie in")],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(RobolearnError, match=words):
        DistillConfig(**changes)
