"""Paired comparisons of agents."""
