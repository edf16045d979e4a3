"""Where each place of one frame is in another, read from the affinities that carry labels: a dense flow of any reach.

Label propagation moves labels; here the labels are the coordinates of the cells themselves, so what comes out is where the labels came
from. With the best match only it is the arg-max, with several their mean weighted by the softmax ("soft-argmax"), which is finer than a
cell.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from followspot.ops.bank import FeatureBank
from followspot.ops.flow import Flow
from followspot.ops.masks import upsample
from followspot.ops.propagate import Affinity, propagate
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame


def match_cells(query: Tensor, key: Tensor, affinity: Affinity) -> Tensor:
    """Where the cells of one feature map are in another.

    Args:
        query: ``(C, h, w)`` of the first frame.
        key: ``(C, h, w)`` of the second.
        affinity: how to match; `Affinity.radius_first` bounds the reach, `Affinity.top_k` 1 takes the best match alone.

    Returns:
        ``(2, h, w)`` float32: dx and dy in cells from each cell of the first to its match in the second.
    """
    h, w = query.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(h, device=query.device), torch.arange(w, device=query.device), indexing="ij")
    own = torch.stack([columns, rows]).float()
    bank = FeatureBank(capacity=0)
    # The third channel counts the weights, which need not sum to 1 (`Affinity.renormalize`).
    bank.add_reference(key, torch.cat([own, torch.ones_like(own[:1])]), key=0)
    found = propagate(query, bank, affinity).labels
    return found[:2] / found[2:].clamp(min=torch.finfo(torch.float32).tiny) - own


@torch.inference_mode()
def match_frames(tracker: PropagationTracker, first: Frame, second: Frame, *, top_k: int | None = None) -> Flow:
    """A dense flow between two frames however far apart, by the tracker's own eyes and affinities.

    "Texture propagation" of Jabri et al., "Space-Time Correspondence as a Contrastive Random Walk" (NeurIPS 2020), needs the same.

    Args:
        tracker: its encoder and preset are used, its state is not touched.
        first: the flow begins here.
        second: and leads here.
        top_k: matches a cell; None takes the preset's, 1 the best match alone.

    Returns:
        ``(2, H, W)`` float32: dx and dy in pixels of the frames, interpolated between the centres of cells.
    """
    affinity = tracker.preset.affinity if top_k is None else replace(tracker.preset.affinity, top_k=top_k)
    height, width = first.image.shape[:2]
    cells = match_cells(tracker.encode(first), tracker.encode(second), affinity).cpu()
    pixels = cells * torch.tensor([width / cells.shape[2], height / cells.shape[1]])[:, None, None]
    flow: Flow = upsample(pixels, (height, width)).numpy().astype(np.float32)
    return flow
