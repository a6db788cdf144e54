"""The command line: find the command, run it, turn its errors into one line and an exit code.

Only the chosen command's module is imported, so ``--help`` and ``list`` do not wait for torch.
"""

import importlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from robolearn.errors import DivergedError, RobolearnError, RobolearnWarning, SaveError
from robolearn_envs.engines.base import SimulationError
from robolearn_envs.names import did_you_mean

COMMANDS = {
    "quickstart": ("quickstart", "train, compare with SB3 and write a video: run this first"),
    "train": ("train", "train an agent and leave a run folder"),
    "resume": ("resume", "go on with a run that was stopped or killed, bit for bit"),
    "eval": ("evaluate", "run a trained agent and print how well it does"),
    "imitate": ("imitate", "learn from demonstrations, and go on by reinforcement learning"),
    "bench-demos": ("bench_demos", "measure what demonstrations buy, with tables and plots"),
    "record": ("record", "write a video of a trained agent"),
    "compare": ("compare", "train agents and SB3's on the same seeds and print a table"),
    "transfer": ("transfer", "test trained agents on other engines, damped and randomized"),
    "gallery": ("gallery", "make a page of all runs in a folder"),
    "demos": ("demos", "record, look at, check and merge demonstrations"),
    "import-sb3": ("import_sb3", "make a run of a model that Stable-Baselines3 saved"),
    "list": ("listing", "what environments, engines and agents there are"),
    "doctor": ("doctor", "which engines, renderers and devices work here"),
}
"""Module of ``robolearn.commands`` and a line of help, by name."""


def usage() -> str:
    """Return the top-level help."""
    lines = [f"  {name:<13}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: robolearn COMMAND [OPTIONS]",
            "",
            "Train controllers in simulation, show them as videos, compare them with SB3.",
            "",
            *lines,
            "",
            "robolearn COMMAND --help tells a command's options.",
        ]
    )


class Terminated(BaseException):
    """SIGTERM came while no one listened for it: all that is under way is cleaned up."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Print warnings of ours as one line; others as Python does."""
    if issubclass(category, RobolearnWarning):
        print(f"robolearn: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, *where[:2]), end="", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 bad input, 3 could not save, 4 diverged."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    try:
        with _manners():
            return _run(name, rest)
    except RobolearnError as error:
        print(f"robolearn: {error}", file=sys.stderr)
        return error.exit_code
    except SimulationError as error:
        print(f"robolearn: {error}", file=sys.stderr)
        return DivergedError.exit_code
    except KeyboardInterrupt:
        print("robolearn: stopped.", file=sys.stderr)
        return 130
    except Terminated:
        print("robolearn: terminated.", file=sys.stderr)
        return 143
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"robolearn: {error}.", file=sys.stderr)
        return SaveError.exit_code


def _run(name: str, arguments: Sequence[str]) -> int:
    if name not in COMMANDS:
        raise RobolearnError(did_you_mean("command", name, COMMANDS))
    try:
        module = importlib.import_module(f"robolearn.commands.{COMMANDS[name][0]}")
        return module.main(arguments)
    except ModuleNotFoundError as error:
        from robolearn.extras import missing_extra

        refusal = missing_extra(f"robolearn {name}", error)
        if refusal is None:
            raise
        raise refusal from error


@contextmanager
def _manners() -> Iterator[None]:
    """Show our warnings as one line, and let SIGTERM end what is under way instead of cut it."""
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if main_thread else None
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            warnings.filterwarnings("always", category=RobolearnWarning)
            yield
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, before)
