"""Checkpoints that others have published, as networks of ours: one file a layout."""
