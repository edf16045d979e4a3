"""Frames in, feature maps out."""
