"""Run folders, metrics and checkpoints."""
