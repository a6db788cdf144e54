"""Many PPO agents at once: each is the one that learns alone, and one stops all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tasks_by_name import TASKS, shorten

from robolearn.agents.multi_seed import MultiSeedPPO
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError

SEEDS = (3, 0, 7)
CONFIG = PPOConfig(
    num_envs=16, n_steps=32, batch_size=200, n_epochs=3, hidden_sizes=(32, 16), max_grad_norm=0.3
)
STEPS = 4 * 16 * 32
"""Four rollouts."""
UNSCALED = {"normalize_obs": False, "normalize_value": False, "normalize_advantage": False}
SQUASHED = {"squash_output": True, "state_dependent_std": True, "ent_coef": 0.01}
CASES = {
    "balance": ("CartPoleBalance-v0", {}, {}),
    "swing-up": ("CartPoleSwingUp-v0", {}, {"clip_range_vf": 0.1}),
    "swing-up-discrete": ("CartPoleSwingUp-v0", {"action": "discrete"}, {"ent_coef": 0.01}),
    "squashed": (
        "CartPoleSwingUp-v0",
        {},
        {"squash_output": True, "state_dependent_std": True, "ent_coef": 0.01},
    ),
    "plain": ("CartPoleBalance-v0", {"domain_randomization": 0.2}, UNSCALED),
    "lidar": ("NavLidar-v0", {"level": 0}, {"log_scale_obs": True, "activation": "relu"}),
}


def on_device(name, **kwargs):
    return EnvConfig(id=f"robolearn/{name}", engine="torch", kwargs=kwargs)


BALANCE = on_device("CartPoleBalance-v0")


def build(env=BALANCE, seeds=SEEDS, **changes):
    return MultiSeedPPO(env, replace(CONFIG, **changes), seeds, device="cpu")


def alone(env=BALANCE, seed=0, **changes):
    return PPO(env, replace(CONFIG, **changes), seed=seed, device="cpu")


def distance(first, second):
    """Largest difference of what two agents have learned, normalizers included."""
    pairs = zip(first.net.state_dict().values(), second.net.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def moments(agent):
    """Adam's, one after the other."""
    state = agent.parts().optimizer.moments
    return torch.cat([state[name].flatten() for name in ("step", "exp_avg", "exp_avg_sq")])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_each_agent_learns_and_reports_what_it_does_alone(case, monkeypatch):
    for task in TASKS:
        shorten(task, 40, monkeypatch.setattr)  # so that episodes end, by time limits too
    name, kwargs, changes = CASES[case]
    env = on_device(name, **kwargs)
    many = build(env, **changes)
    reports = list(many.iterate(STEPS))
    many.close()
    ended = 0
    for i, seed in enumerate(SEEDS):
        twin = alone(env, seed, **changes)
        before = {key: number.clone() for key, number in twin.net.state_dict().items()}
        for expected, got in zip(twin.iterate(STEPS), [each[i] for each in reports], strict=True):
            assert got.steps == expected.steps
            assert got.episodes == []
            assert got.metrics == pytest.approx(expected.metrics, rel=1e-4, abs=1e-5)
            ended += expected.metrics.get("rollout/num_episodes", 0)
        twin.close()
        assert distance(twin, many.agents[i]) < 1e-5
        assert (moments(twin) - moments(many.agents[i])).abs().max() < 1e-5
        for key, learned in twin.net.named_parameters():
            moved = (before[key] - learned.detach()).abs().max()
            assert moved > 1e-4  # or that they are equal would say little
    assert ended > 0


def test_one_seed_is_no_special_case():
    many, twin = build(seeds=[5]), alone(seed=5)
    reports = list(many.iterate(STEPS))
    expected = list(twin.iterate(STEPS))
    assert [each.metrics for (each,) in reports] == [
        pytest.approx(each.metrics, rel=1e-4, abs=1e-5) for each in expected
    ]
    assert distance(twin, many.agents[0]) < 1e-5


def test_agents_know_what_they_learned_whenever_they_are_asked_for():
    many, twin = build(), alone(seed=7)
    observations = np.random.default_rng(0).uniform(-0.2, 0.2, (64, 4)).astype(np.float32)
    assert distance(twin, many.agents[2]) == 0
    for _ in zip(many.iterate(STEPS), twin.iterate(STEPS), strict=True):
        agent = many.agents[2]
        assert distance(twin, agent) < 1e-5
        assert agent.value(observations) == pytest.approx(twin.value(observations), abs=1e-4)
        assert (agent.predict(observations)[0] == twin.predict(observations)[0]).all()
    assert (agent.steps, agent.progress) == (twin.steps, twin.progress)
    assert agent.steps == agent.until == STEPS


@pytest.mark.slow
def test_agents_can_be_saved_and_go_on_alone(tmp_path):
    many, twin = build(), alone(seed=0)
    for _ in many.iterate(STEPS):
        pass
    twin.learn(STEPS)
    agent, other = many.agents[1], many.agents[0]
    agent.save(tmp_path / "agent")
    twin.save(tmp_path / "twin")
    loaded, expected = (PPO.load(tmp_path / name, device="cpu") for name in ("agent", "twin"))
    left = {key: number.clone() for key, number in other.net.state_dict().items()}
    for learner in (agent, loaded, expected):
        learner.learn(512)
    assert distance(agent, expected) < 1e-5
    assert distance(loaded, expected) < 1e-5
    # Those that did not go on are as they were, and so is what was stacked.
    kept = many.agents[0].net.state_dict()
    assert all(torch.equal(left[key], kept[key]) for key in left)
    list(many.iterate(512))
    assert many.agents[1].steps == STEPS + 512


def test_learning_in_two_parts_is_that_of_an_agent_alone():
    many, twin = build(), alone(seed=3)
    for steps in (512, 1024):
        list(many.iterate(steps))
        twin.learn(steps)
    assert many.steps == twin.steps == 1536
    assert distance(twin, many.agents[0]) < 1e-5


def test_weights_and_episodes_differ_between_seeds():
    many = build()
    nets = [agent.net for agent in many.agents]
    assert not torch.equal(nets[0].policy[0].weight, nets[1].policy[0].weight)
    obs = many.collector.obs.unflatten(0, (3, 16))
    assert not torch.equal(obs[0], obs[1])
    limit = many.collector.envs.episode_lengths.unflatten(0, (3, 16))
    assert not torch.equal(limit[0], limit[1])


# What stops them.


def spoil(many, rows, figure):
    """Let environments pay a reward that is no number."""
    envs = many.collector.envs
    usual = envs.step_fn

    def transition(actions):
        moved = usual(actions)
        reward = moved.reward.clone()
        reward[rows] = figure
        return moved._replace(reward=reward)

    envs.step_fn = transition


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_return_that_is_not_finite_stops_all_and_names_the_seed(figure):
    many = build()
    next(many.iterate(STEPS))
    before = [agent.net.state_dict() for agent in many.agents]
    before = [{key: number.clone() for key, number in own.items()} for own in before]
    spoil(many, slice(16, 32), figure)
    with pytest.raises(DivergedError, match=r"^Seed 0: A return is not finite; no update was made"):
        next(many.iterate(STEPS))
    for agent, own in zip(many.agents, before, strict=True):
        # Neither weights nor moments of normalizers have changed.
        assert all(torch.equal(own[key], now) for key, now in agent.net.state_dict().items())


def test_a_loss_that_is_not_finite_names_the_seed():
    many = build(normalize_obs=False, normalize_value=False, normalize_advantage=False)
    spoil(many, slice(32, 48), 1e25)  # finite, but not its square
    with pytest.raises(DivergedError, match=r"^Seed 7: The loss is inf; no update was made"):
        next(many.iterate(STEPS))


def test_a_simulation_that_breaks_down_names_the_seed():
    many = build()
    many.collector.tally[2, -1] = 2
    with pytest.raises(DivergedError, match=r"^Seed 7: 2 environments diverged"):
        next(many.iterate(STEPS))


# What cannot be.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gru_hidden_size": 8}, "gru_hidden_size=8"),
        ({"bc_kl_coef": 0.5}, "bc_kl_coef=0.5"),
        ({"critic_warmup_fraction": 0.1}, "critic_warmup_fraction=0.1"),
        (
            {"lr_schedule": "adaptive", "gru_hidden_size": 4},
            "gru_hidden_size=4, lr_schedule='adaptive'",
        ),
        ({"adapter": "lora"}, "adapter='lora'"),
    ],
)
def test_what_cannot_be_stacked_is_refused(changes, words):
    with pytest.raises(RobolearnError, match=f"^Many seeds at once cannot learn with {words}"):
        build(**changes)


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([1, 2, 1, 4, 2], r"Seeds must differ, got 1, 2 twice\."),
        ([], "At least one seed"),
        ([0, -1], r"seed must lie in 0\.\.99999, got -1"),
    ],
)
def test_seeds_must_be_different_ones(seeds, words):
    with pytest.raises(RobolearnError, match=words):
        build(seeds=seeds)


@pytest.mark.parametrize("engine", ["analytic", "mujoco", None])
def test_an_engine_on_the_host_is_refused(engine):
    with pytest.raises(RobolearnError, match=r"need an engine on the device \(torch or warp\)"):
        build(replace(BALANCE, engine=engine))


def test_graphs_cannot_be_asked_for_without_cuda():
    with pytest.raises(RobolearnError, match="CUDA graphs need device cuda"):
        MultiSeedPPO(BALANCE, CONFIG, SEEDS, device="cpu", compile="graph")
