"""Which patch of a frame to follow: one of those where something moves (TimeCycle, vlog_train.py of the released code).

The frame is cut into 9 x 9 boxes; a window is 3 x 3 of them, so there are 7 x 7 windows, each of the size of the patch. Frames are flipped,
if at all, before they come here: the motion is measured on what the patch is cut from, so nothing has to be mirrored afterwards (where the
published code went wrong).
"""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from followspot.errors import SettingError

PATCH_SHARE: Final = 1 / 3
"""Side of the patch as a share of the frame's (vlog_train.py: patches of 80 of 240 pixels)."""
MAX_ANGLE: Final = 45.0
"""Degrees that a patch is turned at most, either way (vlog_train.py)."""
DRAWS: Final = 4
"""Random numbers a patch: which window, jitter in x and y, angle."""
_BOXES: Final = 9
_BOXES_A_WINDOW: Final = 3
_WINDOWS: Final = _BOXES - _BOXES_A_WINDOW + 1
_STRONGEST: Final = 10
# In units of the free way of the patch's corner: half the way between neighbouring windows (vlog_train.py).
_JITTER: Final = 1 / 12
# Where only one small thing moves, fewer than ten windows see it; the rest of the ten would show a still background.
_WORTH: Final = 0.5


def motion_strength(first: Tensor, second: Tensor) -> Tensor:
    """How much each window changes between two frames.

    Args:
        first: ``(B, 3, H, W)`` floats.
        second: the same a little later.

    Returns:
        ``(B, 7, 7)``: mean absolute difference, as values of the frames.

    Raises:
        SettingError: shapes differ, or a side is shorter than 9 pixels.
    """
    if first.shape != second.shape or first.ndim != 4 or min(first.shape[-2:]) < _BOXES:
        got = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise SettingError(f"motion needs two equal batches of frames (B, 3, H, W) of at least {_BOXES} pixels a side, got {got}")
    change = (second.float() - first.float()).abs().mean(1, keepdim=True)
    boxes = functional.adaptive_avg_pool2d(change, _BOXES)
    return functional.avg_pool2d(boxes, _BOXES_A_WINDOW, stride=1).squeeze(1)


def choose_windows(strength: Tensor, draws: Tensor) -> Tensor:
    """Pick a window where something moves.

    Args:
        strength: ``(B, 7, 7)``.
        draws: ``(B,)`` uniform in [0, 1).

    Returns:
        ``(B, 2)`` int64 row and column: one of the ten strongest, all alike likely, without those that have less than half the strength of
        the strongest; any of the 49 where nothing moves.
    """
    flat = strength.flatten(1)
    order = flat.argsort(stable=True, dim=1, descending=True)
    strongest = flat.amax(1, keepdim=True)
    worth = (flat >= _WORTH * strongest).sum(1)
    count = torch.where(strongest.squeeze(1) > 0, worth.clamp(max=_STRONGEST), flat.shape[1])
    rank = (draws * count).long().clamp(max=flat.shape[1] - 1)
    window = order.gather(1, rank[:, None]).squeeze(1)
    return torch.stack([window // strength.shape[2], window % strength.shape[2]], 1)


def place_patches(windows: Tensor, draws: Tensor, *, max_angle: float = MAX_ANGLE) -> Tensor:
    """Jitter and turn the patch of each window.

    Args:
        windows: ``(B, 2)`` row and column.
        draws: ``(B, 3)`` uniform in [0, 1): for x, y and the angle.
        max_angle: degrees, 0..180.

    Returns:
        ``(B, 3)`` shift x, shift y in -1..1, angle in radians, for :func:`followspot.ops.geometry.similarity_theta` with a scale of 1/3. A
        patch that would reach over the border is moved inside, since black corners would tell its place and angle to whoever looks for it.

    Raises:
        SettingError: the angle is out of range.
    """
    if not 0 <= max_angle <= 180:
        raise SettingError(f"max_angle {max_angle:g} must be in 0..180 degrees; the source uses {MAX_ANGLE:g}")
    corner = windows.flip(1).to(draws.dtype) / (_WINDOWS - 1) + (2 * draws[:, :2] - 1) * _JITTER
    shift = (2 * corner.clamp(0, 1) - 1) * (1 - PATCH_SHARE)
    angle = (2 * draws[:, 2] - 1) * math.radians(max_angle)
    reach = (PATCH_SHARE * (angle.cos().abs() + angle.sin().abs()))[:, None]
    return torch.cat([shift.clamp(reach - 1, 1 - reach), angle[:, None]], 1)


def draw_patches(first: Tensor, second: Tensor, draws: Tensor, *, max_angle: float = MAX_ANGLE) -> Tensor:
    """Poses of patches where something moves.

    Args:
        first: ``(B, 3, H, W)`` square frames that the patches will be cut from.
        second: the same a little later.
        draws: ``(B, 4)`` uniform in [0, 1).
        max_angle: degrees, 0..180.

    Returns:
        ``(B, 3)`` as of :func:`place_patches`.
    """
    windows = choose_windows(motion_strength(first, second), draws[:, 0])
    return place_patches(windows, draws[:, 1:], max_angle=max_angle)
