"""A cell of a comparison that is made in a process of its own."""

import signal
from multiprocessing.connection import Connection
from typing import NamedTuple

from robolearn.compare.contestants import CompareConfig, contestant
from robolearn.compare.training import run_cell
from robolearn.errors import DivergedError, RobolearnError
from robolearn.workers.child import exit_with_parent


class Failure(NamedTuple):
    """A training that broke down."""

    agent: str
    seed: int
    why: str


def carry_out(pipe: Connection, config: CompareConfig, seed: int) -> None:
    """Make a cell and send what there is to tell: how far it has come, and how it ended.

    Args:
        pipe: To the process that asked.
        config: Of the comparison, with one agent.
        seed: Of the training.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it comes to the parent too, which ends us
    exit_with_parent()
    (name,) = config.agents
    try:
        pipe.send(run_cell(contestant(name, config), config, seed, pipe.send))
    except DivergedError as error:
        pipe.send(Failure(name, seed, str(error)))
    except RobolearnError as error:
        pipe.send(error)
    pipe.close()
