"""Every pair of DQN's switches learns that the first of two steps decides what is paid."""

from itertools import combinations, product

import numpy as np
import pytest
from probe_env import TWO_STEPS, Probe

from robolearn.agents.dqn import DQN, DQNConfig, rainbow

GAMMA = 0.8
STATES = np.eye(3, dtype=np.float32)

LEARNING = {
    "gamma": GAMMA,
    "num_envs": 16,
    "hidden_sizes": (32, 64),
    "layer_norm": False,
    "normalize_obs": False,
    "learning_rate": 0.01,
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 1.0,
    "batch_size": 64,
    "buffer_size": 4_000,
    "learning_starts": 160,
    "train_freq": 1,
    "gradient_steps": 12,
    "target_update_interval": 13,
    "lr_schedule": "linear",
    "n_atoms": 11,
    "n_quantiles": 11,
    "v_min": -8.0,
    "v_max": 8.0,
    "per_alpha": 0.6,
    "per_beta_start": 0.4,
}
"""300 gradient steps, in 25 rounds after the warm-up."""

DISTRIBUTIONS = ("none", "c51", "qr")
SWITCHES = [(False, True), (False, True), (1, 3), (False, True), (False, True), DISTRIBUTIONS]


def covering(options):
    """Return combinations in which every pair of two switches' settings occurs, greedily few."""

    def pairs(combination):
        return set(combinations(enumerate(combination), 2))

    chosen, missing = [], set().union(*map(pairs, product(*options)))
    while missing:
        chosen.append(max(product(*options), key=lambda each: len(pairs(each) & missing)))
        missing -= pairs(chosen[-1])
    return chosen


def named(switches):
    """Return which switches are on, for the name of a test."""
    double, dueling, n_step, prioritized_replay, noisy, returns = switches
    on = {
        "double_q": double,
        "dueling": dueling,
        "prioritized_replay": prioritized_replay,
        "noisy_nets": noisy,
    }
    return "-".join([*(name for name in on if on[name]), f"{n_step}_step", returns])


def require_learned(config):
    """Check what a DQN thinks of the first step after learning."""
    agent = DQN(Probe(TWO_STEPS, config.num_envs), config, seed=0, device="cpu").learn(560)
    agent.close()
    assert agent.predict(STATES[0], deterministic=True)[0] == 1
    # Action 1 leads to state 2, where both actions pay 8: Q(0, 1) = 0.8 * 8. What noise in weights
    # does on average is not exactly what their means do, until it has died down.
    tolerance = 0.05 if config.noisy_nets or config.value_distribution == "qr" else 0.02
    q = agent.q_values(STATES)
    assert q[0, 1] == pytest.approx(GAMMA * 8, rel=tolerance)
    assert q[0, 0] < 0


@pytest.mark.slow
@pytest.mark.parametrize("switches", covering(SWITCHES), ids=named)
def test_every_pair_of_switches_learns_what_its_first_step_is_worth(switches):
    double, dueling, n_step, prioritized_replay, noisy, returns = switches
    require_learned(
        DQNConfig(
            **LEARNING,
            double_q=double,
            dueling=dueling,
            n_step=n_step,
            prioritized_replay=prioritized_replay,
            noisy_nets=noisy,
            value_distribution=returns,
        )
    )


def test_rainbow_learns_what_its_first_step_is_worth():
    require_learned(rainbow(**LEARNING))
