"""The online tracker: a network that was shown an object once finds it in every later frame, with a mask, a rotated box and a score.

Wang et al., "Fast online object tracking and segmentation: a unifying approach" (CVPR 2019), on the rules of SiamRPN. The template is that
of the annotated frame and never changes; nothing but frames reaches the tracker afterwards, unless someone annotates again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from followspot.errors import AnnotationError, SettingError
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask_inference import Precision
from followspot.tracking.rules import require_annotations, require_size, stream
from followspot.tracking.siamese_books import Given, admit
from followspot.tracking.siamese_look import Look
from followspot.tracking.siamese_masks import Ids, fuse
from followspot.tracking.siamese_network import SiameseNetwork
from followspot.tracking.siamese_settings import SIAMESE_PRESETS, SiameseSettings
from followspot.tracking.siamese_target import Target
from followspot.types import Annotation, Frame, TrackedFrame


class SiameseTracker:
    """Follows boxes and masks, each with a template of its own.

    Args:
        network: in eval mode, on the device where it shall compute.
        settings: how proposals are chosen; the preset ``vot`` unless told otherwise.
        precision: in which SiamMask and S2iamMask compute: ``"bfloat16"``, ``"float32"`` or ``"auto"``, which takes the first on processors
            that multiply it natively. Of the network a copy is made for it; what trains the network afterwards does not reach the tracker.

    The confidence of an answer is the network's score of the chosen proposal. An object given as a box is answered by the upright box of
    the proposal, a rotated one (`TrackedObject.polygon`) and pixels; one given as a mask has the extent of its pixels as its box.
    """

    def __init__(
        self, network: SiameseNetwork | S2iamMask, settings: SiameseSettings | None = None, *, precision: Precision = "auto"
    ) -> None:
        self.settings = SIAMESE_PRESETS["vot"] if settings is None else settings
        self.network = network
        self._look = Look(network, self.settings, precision=precision)
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._targets: dict[str, Target] = {}
        self._shown: dict[str, int] = {}
        self._frame: Frame | None = None
        self._ids: Ids | None = None

    def start(self, frame: Frame, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Forgets everything and begins at this frame.

        Args:
            frame: the annotated frame.
            annotations: boxes and masks to follow; of a mask its upright box is shown to the network.

        Returns:
            The annotations as given, for this frame.

        Raises:
            AnnotationError: nothing is annotated, something else than boxes and masks is, or it does not touch the frame.
        """
        require_annotations(annotations)
        self.reset()
        self._frame = frame
        return self.add(annotations)

    def step(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> TrackedFrame:
        """Finds all objects in the next frame.

        Args:
            frame: the next frame, of the same size as the first.
            annotations: corrections of objects and new objects, for this frame: their templates are taken from it.

        Returns:
            The answer for this frame.

        Raises:
            SettingError: `start` was not called.
            VideoError: the frame has another size.
            AnnotationError: an annotation does not fit.
        """
        if self._frame is None or not self._targets:
            raise SettingError("step() before start(): call start(frame, annotations) on the annotated frame first")
        height, width = self._frame.image.shape[:2]
        require_size(frame, (height, width))
        for target in self._targets.values():
            target.follow(frame.image, self._look)
        self._frame = frame
        self._ids = self._paint((height, width))
        return self.add(annotations) if annotations else self._answer(frame)

    def add(self, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Corrects or adds objects on the latest frame.

        Args:
            annotations: for the frame of the last `start` or `step`.

        Returns:
            The answer for that frame, anew.

        Raises:
            AnnotationError: an annotation does not fit; nothing is changed then.
            SettingError: there was no frame yet.
        """
        if self._frame is None:
            raise SettingError("add() before start(): call start(frame, annotations) on the annotated frame first")
        height, width = self._frame.image.shape[:2]
        taken = {name: (target.kind, target.mask_id) for name, target in self._targets.items()}
        given = admit(annotations, taken, size=(height, width), pixels=self._look.draws)
        for entry in given:
            self._targets[entry.name] = Target(entry, self._frame.image, look=self._look)
            self._shown[entry.name] = self._frame.index
        self._paste(given, (height, width))
        return self._answer(self._frame)

    def remove(self, name: str) -> None:
        """Stops following an object; without the last one the tracker is as new.

        Args:
            name: of the object.

        Raises:
            AnnotationError: nothing of that name is followed.
        """
        if name not in self._targets:
            raise AnnotationError(f"cannot remove {name!r}: followed are {', '.join(self._targets) or 'nothing yet'}")
        gone = self._targets.pop(name)
        if self._ids is not None and gone.mask_id is not None:
            self._ids[self._ids == gone.mask_id] = 0
        if not self._targets:
            self.reset()

    def stream(self, frames: Iterable[Frame], annotations: Mapping[int, Sequence[Annotation]]) -> Iterator[TrackedFrame]:
        """Answers frame by frame, forward only, at constant memory.

        Args:
            frames: from anywhere; frames before the first annotated one are passed over.
            annotations: by frame index.

        Yields:
            One answer a frame, from the first annotated frame on.

        Raises:
            AnnotationError: nothing is annotated, or the video ends before the annotated frame.
        """
        yield from stream(self, frames, annotations, following=lambda: bool(self._targets))

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        weights = next(self.network.parameters(), None) if isinstance(self.network, torch.nn.Module) else None
        return torch.device("cpu") if weights is None else weights.device

    def state(self) -> dict[str, Any]:
        """Everything needed to go on with `step` later: plain numbers, and in which frames templates were taken.

        Raises:
            SettingError: `start` was not called.
        """
        if self._frame is None:
            raise SettingError("there is no state before start()")
        objects = [
            {
                "name": name,
                "kind": target.kind,
                "mask_id": target.mask_id,
                "shown": self._shown[name],
                "given": target.given.box.tolist(),
                **target.state(),
            }
            for name, target in self._targets.items()
        ]
        return {"frame": self._frame.index, "objects": objects}

    def restore(self, state: Mapping[str, Any], frame_at: Callable[[int], Frame]) -> None:
        """Goes on with `step` where `state` was taken, bit for bit: templates are taken anew.

        Args:
            state: from `state`, also after a way through JSON.
            frame_at: gives the frame of an index.
        """
        self.reset()
        for entry in state["objects"]:
            box = np.array(entry["given"], np.float64)
            given = Given(name=entry["name"], kind=entry["kind"], box=box, mask=None, mask_id=entry["mask_id"])
            target = Target(given, frame_at(entry["shown"]).image, look=self._look)
            target.restore(entry)
            self._targets[given.name], self._shown[given.name] = target, entry["shown"]
        self._frame = frame_at(state["frame"])

    def _paint(self, size: tuple[int, int]) -> Ids | None:
        """The id map of all objects that have pixels; None where none can have any."""
        painters = [target for target in self._targets.values() if target.mask_id is not None]
        if not painters:
            return None
        return fuse([(t.mask_id or 0, t.patch) for t in painters if t.patch is not None], above=self._look.threshold, size=size)

    def _paste(self, given: Sequence[Given], size: tuple[int, int]) -> None:
        """Puts annotated masks over what was found, exactly as given; of an annotated box no pixels are claimed."""
        if all(target.mask_id is None for target in self._targets.values()):
            return
        ids = self._paint(size) if self._ids is None else self._ids
        assert ids is not None
        for entry in given:
            ids[ids == (entry.mask_id or 0)] = 0
        for entry in given:
            if entry.mask is not None:
                ids[entry.mask] = entry.mask_id or 0
        self._ids = ids

    def _answer(self, frame: Frame) -> TrackedFrame:
        ids = None if self._ids is None else self._ids.copy()
        objects = tuple(target.answer(name, ids) for name, target in self._targets.items())
        return TrackedFrame(index=frame.index, name=frame.name, time_seconds=frame.time_seconds, masks=ids, maps=None, objects=objects)
