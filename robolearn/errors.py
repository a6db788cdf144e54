"""Errors with an exit code: one line each, what was got, what was expected, what to do."""

from typing import ClassVar


class RobolearnError(Exception):
    """Bad input. The command line prints the message alone and exits with ``exit_code``."""

    exit_code: ClassVar[int] = 2


class SaveError(RobolearnError):
    """Results could not be saved."""

    exit_code = 3


class DivergedError(RobolearnError):
    """Learning or simulation left the realm of finite numbers."""

    exit_code = 4

    def __init__(self, message: str, env: int | None = None) -> None:
        """Say what happened, and in which environment where it is one of them."""
        super().__init__(message)
        self.env = env


class RobolearnWarning(UserWarning):
    """Something went wrong and was got over. The command line prints the message alone."""
