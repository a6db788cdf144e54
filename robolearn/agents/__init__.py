"""Agents: one algorithm, one file."""
