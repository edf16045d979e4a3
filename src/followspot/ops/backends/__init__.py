"""Implementations of propagation; all agree with each other."""
