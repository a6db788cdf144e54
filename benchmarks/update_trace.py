"""How many files and functions of robolearn one training iteration of an agent enters.

``python -m benchmarks.update_trace [ppo dqn ...]`` trains each agent for some iterations to have
everything made, traces one more ``training_iteration`` with ``sys.setprofile`` and lists what it
entered, file by file: collecting steps, and learning from them. What stepping the environments
enters is left out, as are generated functions such as those of dataclasses.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType, FrameType

import robolearn
from robolearn.agents import agent_class
from robolearn.collect.collector import Collector

PACKAGE = Path(robolearn.__file__).parent
STEP = Collector.advance.__code__


def entered(function: Callable[[], object]) -> dict[str, list[str]]:
    """Call a function and return the functions of robolearn it entered, by file.

    Args:
        function: Takes no arguments.
    """
    codes: set[CodeType] = set()
    depth = 0  # of calls within a step of the environments

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal depth
        code = frame.f_code
        if event == "call":
            codes.update([code] if not depth else [])
            depth += depth > 0 or code is STEP
        elif event == "return" and depth:
            depth -= 1

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    found: dict[str, list[str]] = {}
    for code in codes:
        path = Path(code.co_filename)
        inner = code.co_name.startswith("<")  # comprehensions and lambdas
        if path.is_relative_to(PACKAGE) and not inner:
            found.setdefault(str(path.relative_to(PACKAGE)), []).append(code.co_qualname)
    return {name: sorted(found[name]) for name in sorted(found)}


def main() -> None:
    """Print what an iteration of each agent enters."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.update_trace")
    parser.add_argument("agents", nargs="*", default=["ppo", "dqn"])
    for name in parser.parse_args().agents:
        agent = agent_class(name)("CartPole-v1", device="cpu")
        learned = 0
        for update in agent.iterate(1_000_000):
            learned += len(update.metrics) > 2  # not where a replay buffer is only filled
            if learned == 2:
                break
        train = partial(agent.training_iteration, agent.collector, 0.5)
        found = entered(train)
        agent.close()
        functions = sum(map(len, found.values()))
        print(f"{name}: {len(found)} files, {functions} functions")
        for path, names in found.items():
            print(f"  {path}: {', '.join(names)}")


if __name__ == "__main__":
    main()
