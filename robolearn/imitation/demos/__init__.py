"""Demonstrations: recorded, kept as Minari datasets, checked, replayed."""
