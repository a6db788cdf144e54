"""Every combination of DQN's switches learns that the first of two steps decides what is paid."""

from itertools import product

import numpy as np
import pytest
from probe_env import TWO_STEPS, Probe

from robolearn.agents.dqn import DQN, RETURNS, DQNConfig

GAMMA = 0.8
STATES = np.eye(3, dtype=np.float32)

LEARNING = {
    "gamma": GAMMA,
    "num_envs": 16,
    "hidden": (32, 64),
    "layer_norm": False,
    "normalise": False,
    "learning_rate": 0.01,
    "final_learning_rate": 0.0,
    "epsilon_start": 1.0,
    "epsilon_end": 1.0,
    "batch": 64,
    "capacity": 4_000,
    "warmup": 160,
    "collect_steps": 1,
    "updates": 12,
    "target_period": 10,
    "atoms": 11,
    "support": (-8.0, 8.0),
    "priority_exponent": 0.6,
    "importance_start": 0.4,
}
"""300 gradient steps, in 25 rounds after the warm-up."""

SWITCHES = list(
    product([False, True], [False, True], [1, 3], [False, True], [False, True], RETURNS)
)


def named(switches):
    """Return which switches are on, for the name of a test."""
    double, dueling, n_step, prioritised, noisy, returns = switches
    on = {"double": double, "dueling": dueling, "prioritised": prioritised, "noisy": noisy}
    return "-".join([*(name for name in on if on[name]), f"{n_step}_step", returns])


def require_learned(config):
    """Check what a DQN thinks of the first step after learning."""
    agent = DQN(Probe(TWO_STEPS, config.num_envs), config, seed=0, device="cpu").learn(560)
    agent.close()
    assert agent.predict(STATES[0], deterministic=True)[0] == 1
    # Action 1 leads to state 2, where both actions pay 8: Q(0, 1) = 0.8 * 8. What noise in weights
    # does on average is not exactly what their means do, until it has died down.
    tolerance = 0.05 if config.noisy or config.returns == "quantile" else 0.02
    q = agent.q_values(STATES)
    assert q[0, 1] == pytest.approx(GAMMA * 8, rel=tolerance)
    assert q[0, 0] < 0


@pytest.mark.slow
@pytest.mark.parametrize("switches", SWITCHES, ids=named)
def test_every_combination_of_switches_learns_what_its_first_step_is_worth(switches):
    double, dueling, n_step, prioritised, noisy, returns = switches
    require_learned(
        DQNConfig(
            **LEARNING,
            double=double,
            dueling=dueling,
            n_step=n_step,
            prioritised=prioritised,
            noisy=noisy,
            returns=returns,
        )
    )


def test_rainbow_learns_what_its_first_step_is_worth():
    require_learned(DQNConfig(**LEARNING, rainbow=True))
