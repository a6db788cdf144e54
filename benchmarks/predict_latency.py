"""Latency of ``predict``: median and 99.9th percentile of 20,000 calls with one observation.

    python -m benchmarks.predict_latency [--load]

A controller at 200 Hz has 5 ms for each call. With ``--load`` another process keeps one core busy.
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from robolearn import DQN, PPO
from robolearn.agents.base import BaseAgent

ENV = "CartPole-v1"
NUM_WARMUP = 1_000  # calls that are not timed


def latencies(agent: BaseAgent, calls: int) -> np.ndarray:
    """Return the seconds that each call of ``predict`` took. Shape (calls,)."""
    rng = np.random.default_rng(0)
    observations = rng.uniform(-0.05, 0.05, (calls + NUM_WARMUP, 4)).astype(np.float32)
    seconds = np.empty(len(observations))
    for i, obs in enumerate(observations):
        began = time.perf_counter()
        agent.predict(obs, deterministic=True)
        seconds[i] = time.perf_counter() - began
    return seconds[NUM_WARMUP:]


def _busy_loop() -> None:
    while True:
        pass


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy."""
    process = multiprocessing.get_context("spawn").Process(target=_busy_loop, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def main() -> None:
    """Print one line for each agent."""
    parser = argparse.ArgumentParser(description="Measure the latency of predict.")
    parser.add_argument("--load", action="store_true", help="keep another core busy meanwhile")
    parser.add_argument("--calls", type=int, default=20_000, help="of predict")
    options = parser.parse_args()
    for cls in (PPO, DQN):
        agent = cls(ENV)
        if options.load:
            with busy_core():
                seconds = latencies(agent, options.calls)
        else:
            seconds = latencies(agent, options.calls)
        median, tail = (1e3 * np.quantile(seconds, q) for q in (0.5, 0.999))
        print(f"{cls.__name__}: median {median:.3f} ms, 99.9 % {tail:.3f} ms")


if __name__ == "__main__":
    main()
