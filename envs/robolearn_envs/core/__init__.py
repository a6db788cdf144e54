"""Episodes of N environments, written once for NumPy and for torch."""
