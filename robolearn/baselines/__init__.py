"""Baselines from other libraries."""
