"""The state machine that carries annotations through a video."""
