"""Errors that are the user's to mend: one line, what was got, what was expected, what to do."""


class RobolearnError(ValueError):
    """Bad input. The command line prints the message alone and exits with 2."""
