"""What DQfD learns before it makes a step, and which of it is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recorded import recorded

from robolearn.agents.dqfd import DQfD, DQfDConfig
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn.imitation.demos.mirror import with_mirrored
from robolearn.imitation.fitting import TRIALS
from robolearn.imitation.pretrain import PretrainConfig, add_demonstrations, pretrain

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SMALL = DQfDConfig(
    num_envs=4, hidden_sizes=(32, 32), batch_size=64, gradient_steps=10, margin_loss_coef=20.0
)
FEW = PretrainConfig(pretrain_updates=60, try_every=20, try_episodes=3)


@pytest.fixture(scope="module")
def shown():
    """A single demonstration, and its mirror image."""
    return with_mirrored(recorded("CartPoleBalance-v0", seeds=(0,), engine="analytic")).steps()


def shown_to(shown, **changes):
    agent = DQfD(BALANCE, replace(SMALL, num_demo_transitions=len(shown.reward), **changes))
    add_demonstrations(agent, shown)
    return agent


def test_all_demonstrated_steps_are_kept_as_they_were(shown):
    agent = shown_to(shown)
    assert (len(agent._replay), agent._replay.num_demos) == (1000, 1000)
    where = agent._replay.capacity + torch.arange(1000)
    batch = agent._replay.get(where, 1, 0.9)
    np.testing.assert_array_equal(batch.obs, shown.obs)
    np.testing.assert_array_equal(batch.next_obs, shown.next_obs)
    np.testing.assert_array_equal(batch.action, shown.action)
    np.testing.assert_array_equal(batch.reward, shown.reward)
    assert batch.weight.tolist() == [1.0] * 1000
    # Both episodes end by the time limit: nothing terminates, and no return goes beyond an end.
    assert batch.discount.tolist() == [pytest.approx(0.9)] * 1000
    far = agent._replay.get(where, 500, 1.0).reward
    assert far.tolist() == [*range(500, 0, -1)] * 2
    np.testing.assert_array_equal(agent._replay.expert_actions(where), shown.wanted)


def test_pretraining_by_a_single_demonstration_balances_before_a_step_is_made(shown):
    agent = shown_to(shown, n_step=10)
    config = PretrainConfig(pretrain_updates=600, try_every=200, try_episodes=10, enough=495.0)
    choice = pretrain(agent, config, BALANCE)
    assert evaluate(agent, BALANCE, episodes=10, seed=TRIALS).mean == choice.score >= 450
    assert (agent.steps, agent.envs._envs) == (0, None)


def test_the_best_of_all_trials_is_kept_in_both_networks(shown):
    agent = shown_to(shown)
    choice = pretrain(agent, FEW, BALANCE)
    assert [made for made, _ in choice.curve] == [20, 40, 60]
    assert agent.num_updates == 60
    assert choice.score == max(score for _, score in choice.curve)
    assert evaluate(agent, BALANCE, episodes=3, seed=TRIALS).mean == choice.score
    online, target = agent.online.state_dict(), agent.target.state_dict()
    assert all(torch.equal(tensor, target[name]) for name, tensor in online.items())


def test_what_is_enough_ends_it(shown):
    agent = shown_to(shown)
    choice = pretrain(agent, replace(FEW, enough=-1.0), BALANCE)
    assert (agent.num_updates, len(choice.curve)) == (20, 1)


def test_reinforcement_goes_on_from_there(shown):
    agent = shown_to(shown, exploration_initial_eps=0.0, exploration_final_eps=0.0)
    pretrain(agent, FEW, BALANCE)
    before = agent.online.state_dict()["advantage.layers.0.weight"].clone()
    agent.learn(64)
    agent.close()
    assert (agent.steps, agent.num_updates) == (64, 60 + 4 * 10)
    assert not torch.equal(agent.online.state_dict()["advantage.layers.0.weight"], before)


@pytest.mark.parametrize("name", ["pretrain_updates", "try_every", "try_episodes"])
def test_senseless_settings_are_refused(name):
    with pytest.raises(RobolearnError, match=f"{name} must"):
        PretrainConfig(**{name: 0})
    with pytest.raises(RobolearnError, match="pretrain_rate must"):
        PretrainConfig(pretrain_rate=-1.0)
