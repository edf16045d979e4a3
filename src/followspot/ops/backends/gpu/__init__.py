"""Propagation on GPUs as Triton kernels: optional, off until a GPU has proved it (`proof`)."""
