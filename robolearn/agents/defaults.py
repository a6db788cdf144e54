"""Tuned hyper-parameters per agent and environment, over the defaults in each config class."""

from typing import Any

TUNED: dict[tuple[str, str], dict[str, Any]] = {}


def tuned(agent: str, env_id: str | None) -> dict[str, Any]:
    """Return what to override in the agent's config for an environment; {} if nothing."""
    return TUNED.get((agent, env_id or ""), {})
