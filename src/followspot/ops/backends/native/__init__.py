"""Propagation in C++, for CPUs: optional, compiled at install, several times as fast as plain torch."""
