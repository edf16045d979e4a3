"""Readers of benchmarks, and synthetic video with exact labels."""
