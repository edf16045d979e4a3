"""Nothing moves: what every method must beat."""

from followspot.tracking.baseline import BaselineTracker
from followspot.tracking.carried import Carried
from followspot.types import Frame


class IdentityTracker(BaselineTracker):
    """The last annotation is the answer for every frame.

    The baseline "Identity" of Vondrick et al., "Tracking Emerges by Colorizing Videos" (ECCV 2018), table 1.

    >>> import numpy as np
    >>> from followspot.types import Masks
    >>> frames = [Frame(image=np.zeros((2, 2, 3), np.uint8), index=i, time_seconds=0, name=str(i)) for i in range(3)]
    >>> answers = list(IdentityTracker().stream(frames, {0: [Masks(ids=np.array([[0, 1], [0, 0]], np.uint8))]}))
    >>> answers[2].masks.tolist()
    [[0, 1], [0, 0]]
    """

    def _move(self, carried: Carried, before: Frame, *, now: Frame) -> None:
        """Everything stays where it is."""
