"""Stepping training environments, on the host and on a device."""
