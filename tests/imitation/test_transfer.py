"""What an agent has learned goes elsewhere with it, and only what is to change does."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.saving import load_learning, save_learning
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.transfer import (
    base_digest,
    fine_tuned,
    learned_state,
    load_adapter,
    merged,
    save_adapter,
    use_encoder,
)
from robolearn.runs.checkpoint import read_checkpoint, write_checkpoint

ROBOT = {"pole_length": 1.4, "pole_mass": 0.2}
SWING = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
LONGER = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic", kwargs={"robot": ROBOT})
SMALL = PPOConfig(num_envs=4, n_steps=16, batch_size=32, n_epochs=2, hidden_sizes=(16, 8))
OBS = np.random.default_rng(0).uniform(-1, 1, (50, 5)).astype(np.float32)
KINDS = ("lora", "bottleneck", "bitfit", "head")
every_kind = pytest.mark.parametrize("kind", KINDS)


def learned(agent, steps=256):
    agent.learn(steps)
    agent.close()
    return agent


def base_of(seed=0, **changes):
    return learned(PPO(SWING, replace(SMALL, **changes), seed=seed))


@pytest.fixture(scope="module")
def base():
    """A pretrained agent, which the tests leave as it is."""
    return base_of()


def acts(agent, obs=OBS):
    return agent.predict(obs, deterministic=True)[0]


def tensors_of(agent):
    return {name: held.clone() for name, held in agent.net.state_dict().items()}


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_who_is_to_be_tuned_begins_with_what_the_base_knows(base, kind):
    agent = fine_tuned(base, LONGER, adapter=kind, changes={"learning_rate": 5e-4}, seed=3)
    np.testing.assert_array_equal(acts(agent), acts(base))
    np.testing.assert_array_equal(agent.value(OBS), base.value(OBS))
    assert agent.envs.config == LONGER
    assert (agent.steps, agent.seed) == (0, 3)
    assert agent.config == replace(SMALL, adapter=kind, learning_rate=5e-4)


@every_kind
def test_tuning_changes_the_adapter_and_the_critic_alone(base, kind):
    agent = fine_tuned(base, LONGER, adapter=kind)
    before, was = base_digest(agent.net), tensors_of(agent)
    learned(agent)
    assert base_digest(agent.net) == before
    changed = {n for n, held in agent.net.state_dict().items() if not torch.equal(held, was[n])}
    critic = {n for n in was if n.startswith(("critic.", "values."))}
    assert changed == learned_state(agent.net).keys() | critic
    assert np.abs(acts(agent) - acts(base)).max() > 1e-4


def test_tuning_without_an_adapter_changes_everything_but_not_the_base(base):
    before = tensors_of(base)
    agent = learned(fine_tuned(base, LONGER))
    after, kept = agent.net.state_dict(), base.net.state_dict()
    assert not any(torch.equal(after[name], before[name]) for name in before)
    assert all(torch.equal(kept[name], before[name]) for name in before)


def test_a_low_rank_adapter_of_the_base_becomes_part_of_its_weights(base):
    first = learned(fine_tuned(base, LONGER, adapter="lora", rank=2))
    second = fine_tuned(first, SWING, adapter="lora", rank=3)
    np.testing.assert_array_equal(acts(second), acts(first))
    assert base_digest(second.net) != base_digest(first.net)


def test_other_spaces_are_refused(base):
    there = "robolearn/CartPoleBalance-v0"
    with pytest.raises(RobolearnError, match=f"do not fit {there}: its observation_space is Box"):
        fine_tuned(base, there)


def test_other_networks_and_unknown_settings_are_refused(base):
    with pytest.raises(RobolearnError, match=r"hidden_sizes=\(4,\) makes another network than"):
        fine_tuned(base, LONGER, changes={"hidden_sizes": (4,)})
    with pytest.raises(RobolearnError, match="learning_rate"):
        fine_tuned(base, LONGER, changes={"learning_rat": 1e-3})


def test_a_merged_agent_acts_bit_by_bit_the_same(base):
    agent = learned(fine_tuned(base, LONGER, adapter="lora"))
    plain = merged(agent)
    assert plain.config.adapter == "none"
    assert plain.net.state_dict().keys() == base.net.state_dict().keys()
    assert plain.steps == agent.steps == 256
    np.testing.assert_array_equal(acts(plain), acts(agent))


def test_what_learning_is_to_stay_near_is_what_it_begins_with(base, tmp_path):
    first = fine_tuned(base, LONGER, adapter="lora", changes={"bc_kl_coef": 1.0})
    assert _same_state(first.ref_policy, first.net)
    save_adapter(learned(first), tmp_path / "adapter")
    again = load_adapter(fine_tuned(base, SWING, changes={"bc_kl_coef": 1.0}), tmp_path / "adapter")
    assert _same_state(again.ref_policy, again.net)
    assert not _same_state(again.ref_policy, first.ref_policy)


def _same_state(one, other):
    state = other.state_dict()
    return all(torch.equal(held, state[name]) for name, held in one.state_dict().items())


# Written and read.


@every_kind
def test_an_agent_with_an_adapter_is_saved_and_read_back(base, kind, tmp_path):
    agent = learned(fine_tuned(base, LONGER, adapter=kind))
    agent.save(tmp_path / "agent")
    again = load_agent(tmp_path / "agent")
    assert again.config == agent.config
    np.testing.assert_array_equal(acts(again), acts(agent))
    for ours, theirs in zip(_moments(agent), _moments(again), strict=True):
        assert torch.equal(ours, theirs)
    assert base_digest(again.net) == base_digest(agent.net)


def _moments(agent):
    return list(agent.parts().optimizer.moments.values())


@pytest.mark.parametrize("kind", ["lora", "bitfit"])
def test_learning_with_an_adapter_goes_on_exactly_where_it_was_stopped(base, kind, tmp_path):
    agent = fine_tuned(base, LONGER, adapter=kind)
    for progress in agent.iterate(384):
        if progress.steps == 192:
            save_learning(agent, tmp_path / "half", {})
    again, _, exact = load_learning(PPO, tmp_path / "half", "auto")
    assert (exact, again.steps) == (True, 192)
    assert [progress.steps for progress in again.continue_learning()] == [256, 320, 384]
    ours, theirs = agent.net.state_dict(), again.net.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_rank_that_files_do_not_hold_is_refused_before_memory_is_asked_for(base, tmp_path):
    fine_tuned(base, LONGER, adapter="lora").save(tmp_path / "agent")
    state, tensors = read_checkpoint(tmp_path / "agent")
    state["config"]["adapter_rank"] = 10**12
    write_checkpoint(tmp_path / "agent", state, tensors)
    with pytest.raises(RobolearnError, match="declares networks of at least 25,0"):
        load_agent(tmp_path / "agent")


@every_kind
def test_an_adapter_is_saved_without_its_base_and_makes_the_same_agent_of_it(base, kind, tmp_path):
    agent = learned(fine_tuned(base, LONGER, adapter=kind, rank=2))
    save_adapter(agent, tmp_path / "adapter")
    _, tensors = read_checkpoint(tmp_path / "adapter")
    assert tensors.keys() == {"adapter"}
    assert tensors["adapter"].keys() == learned_state(agent.net).keys()
    again = load_adapter(base, tmp_path / "adapter")
    np.testing.assert_array_equal(acts(again), acts(agent))
    draws = [one.predict(OBS)[0] for one in (again, fine_tuned(base, LONGER))]
    assert not np.array_equal(*draws)
    assert again.envs.config == LONGER
    assert (again.config.adapter, again.config.adapter_rank) == (kind, 2)


@pytest.mark.parametrize("difference", ["weights", "moments"])
def test_an_adapter_of_another_base_is_refused(base, difference, tmp_path):
    agent = fine_tuned(base, LONGER, adapter="lora")
    save_adapter(agent, tmp_path / "adapter")
    other = fine_tuned(base, SWING)
    with torch.no_grad():
        changed = other.net.encoder.observations.mean
        (other.net.policy[0].weight if difference == "weights" else changed)[0] += 1e-6
    found = base_digest(fine_tuned(other, LONGER, adapter="lora").net)[:12]
    expected = base_digest(agent.net)[:12]
    with pytest.raises(
        RobolearnError, match=f"have sha256 {expected}, those of this agent {found}"
    ):
        load_adapter(other, tmp_path / "adapter")


def test_what_is_no_adapter_is_neither_saved_nor_read_as_one(base, tmp_path):
    with pytest.raises(RobolearnError, match="has no adapter, all of its policy is learned"):
        save_adapter(base, tmp_path / "adapter")
    base.save(tmp_path / "agent")
    with pytest.raises(RobolearnError, match="holds no adapter, but 'ppo'"):
        load_adapter(base, tmp_path / "agent")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 10**12}, "it has no rank 1000000000000"),
        ({"rank": 8}, "size mismatch|shape"),
        ({"rank": "4"}, "adapter_rank must be an integer"),
        ({"adapter": "head"}, "it holds"),
        ({"adapter": "none"}, "it holds"),
        ({"adapter": "loro"}, "adapter must be one of"),
    ],
)
def test_adapters_that_contradict_themselves_are_refused(base, changes, words, tmp_path):
    save_adapter(fine_tuned(base, LONGER, adapter="lora", rank=4), tmp_path / "adapter")
    state, tensors = read_checkpoint(tmp_path / "adapter")
    if "adapter" in changes:  # its other base would be noticed first
        kind = changes["adapter"] if changes["adapter"] != "loro" else "lora"
        state["base"] = base_digest(fine_tuned(base, LONGER, adapter=kind).net)
    write_checkpoint(tmp_path / "adapter", {**state, **changes}, tensors)
    with pytest.raises(RobolearnError, match=words):
        load_adapter(base, tmp_path / "adapter")


# Eyes.


class Lamp(gym.Env):
    """An image that tells nothing, and a number."""

    def __init__(self, side=16):
        self.observation_space = spaces.Dict(
            eye=spaces.Box(0.0, 1.0, (side, side), np.float32),
            number=spaces.Box(-9.0, 9.0, (1,), np.float32),
        )
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def _observe(self):
        space = self.observation_space["eye"]
        eye = self.np_random.uniform(size=space.shape).astype(np.float32)
        return {"eye": eye, "number": self.np_random.normal(size=1).astype(np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action):
        return self._observe(), float(self.np_random.normal()), False, False, {}


def looking(seed, features=8, side=16):
    envs = SyncVectorEnv([lambda: Lamp(side)] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    return PPO(envs, replace(SMALL, cnn_features_dim=features), seed=seed)


def eyes(agent):
    return [p.detach().clone() for p in agent.net.encoder.images.parameters()]


def same(one, other):
    return [torch.equal(ours, theirs) for ours, theirs in zip(one, other, strict=True)]


@pytest.mark.parametrize("freeze", [True, False])
def test_eyes_of_another_agent_are_used_frozen_or_not(freeze):
    donor, agent = looking(1), looking(2)
    seeing = use_encoder(agent, donor, freeze=freeze)
    assert all(same(eyes(seeing), eyes(donor)))
    assert not any(same(eyes(seeing), eyes(agent))[::2])  # weights; biases begin as 0
    assert all(same(seeing.net.policy.parameters(), agent.net.policy.parameters()))
    learned(seeing, 128)
    assert same(eyes(seeing), eyes(donor)) == [freeze] * len(eyes(donor))
    assert seeing.net.encoder.observations.count.item() == 128  # of the number, in either case
    assert not any(same(seeing.net.policy.parameters(), agent.net.policy.parameters()))


def test_frozen_eyes_stay_frozen_in_an_agent_read_back(tmp_path):
    seeing = learned(use_encoder(looking(2), looking(1), freeze=True), 64)
    seeing.save(tmp_path / "agent")
    envs = looking(3).envs.collector(4, 0).envs
    again = PPO.load(tmp_path / "agent", env=envs)
    before = eyes(again)
    learned(again, 64)
    assert all(same(eyes(again), before))


@pytest.mark.parametrize("other", [{"features": 9}, {"side": 40}])
def test_eyes_of_another_shape_are_refused(other):
    with pytest.raises(RobolearnError, match="cannot use the donor's encoders of images: layers"):
        use_encoder(looking(0), looking(1, **other), freeze=False)


def test_who_sees_no_images_has_no_use_for_eyes(base):
    with pytest.raises(RobolearnError, match="images: none there, none here"):
        use_encoder(base, base, freeze=True)
