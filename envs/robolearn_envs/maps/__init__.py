"""Arenas for navigation: layouts of obstacles, distance fields, and banks of them."""
