"""Objectives: unlabelled clips in, a loss out. One file, one paper."""
