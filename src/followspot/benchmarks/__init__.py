"""Frozen protocols: a tracker or a folder in, a Report out."""
