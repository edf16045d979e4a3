"""A siamese network as the tracker asks it: images, windows and boxes in, rated proposals and masks out."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask import SiamMask
from followspot.models.siammask_inference import Precision, prepare
from followspot.ops.anchors import decode_boxes
from followspot.ops.siamese_crops import Floats, Image, Patch, Values, Window, context_side, cut, put_back
from followspot.tracking.siamese_choice import Candidates, enlarge, rate
from followspot.tracking.siamese_masks import Outline, count_votes, find_outline
from followspot.tracking.siamese_network import SiameseNetwork
from followspot.tracking.siamese_settings import SiameseSettings


@dataclass(frozen=True, kw_only=True)
class Template:
    """What is looked for."""

    features: Any
    """The network's own."""
    fill: Floats
    """``(3,)`` mean colour of the annotated frame, which stands for all that lies outside of frames."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What was found in one search window."""

    window: Window
    pixels: int
    """Side of its crop."""
    proposals: Any
    """The network's own."""
    candidates: Candidates

    def box(self, at: int) -> Floats:
        """``(4,)`` xyxy of a candidate in pixels of the image."""
        return self.window.to_image(self.candidates.boxes[at], pixels=self.pixels)


class Look:
    """A network and the settings by which it is asked.

    Args:
        network: what is asked; of SiamMask and S2iamMask a copy that is made for it (`followspot.models.siammask_inference`), of others
            itself.
        settings: what is wanted.
        precision: of the copy.

    Raises:
        SettingError: rotated boxes are wanted of a network that draws no masks, or the precision is unknown.
    """

    def __init__(self, network: SiameseNetwork | S2iamMask, settings: SiameseSettings, *, precision: Precision = "auto") -> None:
        self.draws = settings.output == "rotated"
        """Whether masks are drawn."""
        if self.draws and not network.mask_side:
            raise SettingError('this network draws no masks, so it tells no rotated boxes; set output to "axis-aligned"')
        self.settings = settings
        self.threshold = settings.seg_thr if settings.vote_n == 1 else settings.vote_threshold
        """What a pixel of `draw` must exceed."""
        self._network = _prepared(network, precision)
        weights = next(self._network.parameters(), None) if isinstance(self._network, nn.Module) else None
        self._device = torch.device("cpu") if weights is None else weights.device
        self._dtype = torch.float32 if weights is None else weights.dtype
        self._anchors = network.anchors.boxes()

    @torch.inference_mode()
    def template(self, image: Image, centre: Floats, *, size: Floats) -> Template:
        """Shows the network an object.

        Args:
            image: RGB ``(H, W, 3)``.
            centre: ``(2,)`` of the object, edges in pixels.
            size: ``(2,)`` width and height.
        """
        fill = np.array(cv2.mean(image)[:3])
        crop = self._crop(
            image,
            Window.around(float(centre[0]), float(centre[1]), context_side(float(size[0]), float(size[1]))),
            pixels=self._network.exemplar_size,
            fill=fill,
        )
        return Template(features=self._network.template(crop), fill=fill)

    @torch.inference_mode()
    def sight(self, image: Image, template: Template, window: Window, *, size: Floats, influence: float) -> Sight:
        """Looks for an object in one window.

        Args:
            image: RGB ``(H, W, 3)``.
            template: of the object.
            window: of the image.
            size: ``(2,)`` of the object when last seen, in pixels of the image.
            influence: of the cosine window.
        """
        pixels = self._network.instance_size
        proposals = self._network.search(template.features, self._crop(image, window, pixels=pixels, fill=template.fill))
        boxes = decode_boxes(proposals.deltas[0].float().cpu(), self._anchors).double().numpy()
        scores = proposals.probabilities[0].double().cpu().numpy()
        scaled = size * (pixels / window.side)
        candidates = rate(scores, boxes, size=scaled, settings=self.settings, window=influence)
        return Sight(window=window, pixels=pixels, proposals=proposals, candidates=candidates)

    def window(self, centre: Floats, size: Floats) -> Window:
        """The search window around a place, as much larger than the template's as its crop is."""
        side = context_side(float(size[0]), float(size[1])) * self._network.instance_size / self._network.exemplar_size
        return Window.around(float(centre[0]), float(centre[1]), side)

    def voters(self, sight: Sight, polygon: Floats | None) -> NDArray[np.intp]:
        """The proposals that count, best first; none where no proposal is a box.

        Args:
            sight: what was found.
            polygon: ``(V, 2)``, the last rotated box in pixels of the image.
        """
        pixels = self._network.instance_size
        last = None if polygon is None or self.settings.vote_n == 1 else sight.window.to_crop(polygon, pixels=pixels)
        return sight.candidates.most(self.settings.vote_n, last=last, ratio=self.settings.vote_ratio, pixels=pixels)

    @torch.inference_mode()
    def draw(self, sight: Sight, voters: NDArray[np.intp], *, size: tuple[int, int]) -> tuple[Patch, Outline | None]:
        """Pixels of an object and the rotated box around them.

        Args:
            sight: what was found.
            voters: positions of its candidates.
            size: ``(H, W)`` of the image.

        Returns:
            Probabilities, or shares of the vote, and the largest region above the threshold.
        """
        masks, boxes = self._masks(sight, voters)
        if self.settings.vote_n == 1:
            patch = put_back(masks[0], boxes[0], size)
            return patch, find_outline(patch, above=self.threshold, min_area=self.settings.min_area)
        reach = sight.window.to_image(self._enlarged(sight, voters), pixels=sight.pixels)
        heard = [(_within(mask, box, limit), box) for mask, box, limit in zip(masks, boxes, reach, strict=True)]
        patch = count_votes(heard, above=self.settings.vote_seg_thr, size=size)
        return patch, find_outline(patch, above=self.threshold, min_area=self.settings.vote_min_area)

    def _masks(self, sight: Sight, voters: NDArray[np.intp]) -> tuple[Values, Floats]:
        """``(N, m, m)`` probabilities, and the boxes ``(N, 4)`` of the image that they are of."""
        if isinstance(self._network, S2iamMask):
            boxes = self._enlarged(sight, voters)
            logits = self._network.masks(sight.proposals, torch.from_numpy(boxes).float().to(self._device))
        else:  # as large as exemplars, around their places
            places = sight.candidates.places[voters]
            logits = self._network.masks(sight.proposals, [(int(row), int(column)) for row, column in places])
            side, middle = self._network.exemplar_size, (self._anchors.shape[-1] - 1) / 2
            corner = sight.pixels / 2 + (places[:, ::-1] - middle) * self._network.stride - side / 2
            boxes = np.concatenate([corner, corner + side], 1)
        return logits.float().sigmoid().cpu().numpy(), sight.window.to_image(boxes, pixels=sight.pixels)

    def _enlarged(self, sight: Sight, voters: NDArray[np.intp]) -> Floats:
        return enlarge(sight.candidates.boxes[voters], self.settings.vote_enlarge, pixels=sight.pixels)

    def _crop(self, image: Image, window: Window, *, pixels: int, fill: Floats) -> Tensor:
        """``(1, 3, pixels, pixels)`` RGB in 0..1 as the network takes it, channels last as images are."""
        crop = torch.from_numpy(cut(image, window, pixels=pixels, fill=fill)).to(self._device)
        return (crop.permute(2, 0, 1)[None].float() / 255).to(self._dtype)


def _within(mask: Values, box: Floats, limit: Floats) -> Values:
    """A mask of one box without what lies beyond another."""
    steps = (np.arange(len(mask)) + 0.5) / len(mask)
    columns, rows = (box[axis] + steps * (box[axis + 2] - box[axis]) for axis in (0, 1))
    inside = np.outer((rows >= limit[1]) & (rows <= limit[3]), (columns >= limit[0]) & (columns <= limit[2]))
    return np.where(inside, mask, 0).astype(np.float32)


def _prepared(network: SiameseNetwork | S2iamMask, precision: Precision) -> SiameseNetwork | S2iamMask:
    """A copy that computes faster, of networks that have one."""
    if isinstance(network, S2iamMask):
        return prepare(network, precision=precision)
    return prepare(network, precision=precision) if isinstance(network, SiamMask) else network
