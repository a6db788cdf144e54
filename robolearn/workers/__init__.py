"""Environments in processes of their own, which may die without taking the training along."""
