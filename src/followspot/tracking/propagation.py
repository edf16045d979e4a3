"""The propagation tracker: encode a frame, carry the label maps into it from the frames remembered, read them out.

Paper for the scheme: Vondrick et al. 2018 (1806.09594) and all that follow it; which frames are remembered and how labels
are weighted is a `Preset`. Memory holds the annotated frames and the last n, so it does not grow with the video.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from followspot.errors import AnnotationError, SettingError
from followspot.io.video import VideoSource
from followspot.models.encoder import Encoder, encode_image, load_encoder
from followspot.ops.propagate import propagate
from followspot.tracking.answers import answer
from followspot.tracking.channels import Channels
from followspot.tracking.encoded import EncodedFrame
from followspot.tracking.memory import Memory
from followspot.tracking.presets import Preset, find_preset
from followspot.tracking.rules import require_annotations, require_size, stream
from followspot.tracking.suggestion import suggest
from followspot.types import Annotation, Frame, Track, TrackedFrame


class PropagationTracker:
    """Follows masks, boxes, points, keypoints and soft maps through a video, all in one pass.

    Args:
        encoder: an `Encoder`, or the name of one (``"descriptor"``, ``"timm:vit_small_patch8_224.dino"`` ...); None takes the shipped one.
        preset: propagation settings, or the name of a preset.
        confidence: also say how sure each answer is and which objects are lost; costs about a tenth of the time.
        device: ``"auto"`` takes a CUDA device if there is one, else the CPU.

    Raises:
        EncoderError: the encoder is unknown or cannot be loaded.
        SettingError: the preset is unknown.
    """

    def __init__(
        self,
        encoder: Encoder | str | None = None,
        preset: Preset | str = "default",
        *,
        confidence: bool = True,
        device: str = "auto",
    ) -> None:
        self.preset = find_preset(preset) if isinstance(preset, str) else preset
        self.encoder = load_encoder(encoder) if encoder is None or isinstance(encoder, str) else encoder
        self.confidence = confidence
        self.device = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu" if device == "auto" else device)
        if isinstance(self.encoder, torch.nn.Module):
            self.encoder.to(self.device)
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.channels: Channels | None = None
        self.labels: Tensor | None = None
        self.features: Tensor | None = None
        self._frame: Frame | None = None
        self.memory = Memory(context_frames=self.preset.context_frames, keep_references=self.preset.keep_references)

    @torch.inference_mode()
    def start(self, frame: Frame, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Forgets everything and begins at this frame.

        Args:
            frame: the annotated frame.
            annotations: what to follow; any mixture.

        Returns:
            The annotations as given, for this frame.

        Raises:
            AnnotationError: nothing is annotated, or it does not fit the frame.
        """
        require_annotations(annotations)
        self.reset()
        self._look(frame)
        return self.add(annotations)

    @torch.inference_mode()
    def step(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> TrackedFrame:
        """Carries all objects into the next frame.

        Args:
            frame: the next frame, of the same size as the first.
            annotations: corrections of objects and new objects, for this frame.

        Returns:
            The answer for this frame.

        Raises:
            SettingError: `start` was not called.
            VideoError: the frame has another size.
        """
        given = self.advance(frame, annotations)
        return self._answer(given, annotations)

    @torch.inference_mode()
    def advance(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> Collection[int]:
        """The part of `step` that moves the label maps (to `labels`), without reading them out.

        Args:
            frame: the next frame.
            annotations: corrections and new objects.

        Returns:
            The channels that were annotated.

        Raises:
            SettingError: `start` was not called.
            VideoError: the frame has another size.
        """
        if self.channels is None:
            raise SettingError("step() before start(): call start(frame, annotations) on the annotated frame first")
        features = self._look(frame)
        moved = propagate(features, self.memory.bank, self.preset.affinity).labels
        self.labels = self._normalized(self.channels, self.channels.settle(moved))
        if annotations:
            return self._correct(annotations)
        remembered = self.channels.redraw(self.labels) if self.preset.recursion == "soft" else self.channels.harden(self.labels)
        self.memory.push(features, remembered)
        return ()

    @torch.inference_mode()
    def add(self, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Corrects or adds objects on the latest frame, which is then remembered for good.

        Objects of a mask that is not listed in `annotations` keep their prediction, less what the new masks cover.

        Args:
            annotations: for the frame of the last `start` or `step`.

        Returns:
            The answer for that frame, anew.

        Raises:
            AnnotationError: an annotation does not fit.
            SettingError: there was no frame yet.
        """
        return self._answer(self._correct(annotations), annotations)

    def _correct(self, annotations: Sequence[Annotation]) -> Collection[int]:
        if self._frame is None or self.features is None:
            raise SettingError("add() before start(): call start(frame, annotations) on the annotated frame first")
        books = self.channels or Channels(image_size=self._image_size, grid=self._grid)
        trial = Channels.from_state(books.state())
        given = trial.admit(annotations)
        self.channels = trial
        self.labels = trial.merge(self.labels, given).to(self.device)
        names = {trial.items[i].name for i in given if trial.items[i].name}
        self.memory.annotate(self.features, self.labels, index=self._frame.index, names=names)
        return given.keys()

    @torch.inference_mode()
    def remove(self, name: str) -> None:
        """Stops following an object; without the last one the tracker is as new.

        Args:
            name: of the object.

        Raises:
            AnnotationError: nothing of that name is followed.
        """
        if self.channels is None or name not in self.channels.names():
            known = ", ".join(self.channels.names()) if self.channels else "nothing yet"
            raise AnnotationError(f"cannot remove {name!r}: followed are {known}")
        if self.channels.names() == [name]:
            self.reset()
            return
        background = self.channels.indices("background")
        masks = [i for i in self.channels.of(name) if self.channels.items[i].role == "mask"]
        gone = self.channels.forget(name)

        def without(labels: Tensor) -> Tensor:
            labels = labels.clone()
            if masks and background:
                labels[background[0]] += labels[masks].sum(0)
            return labels[[i for i in range(len(labels)) if i not in gone]]

        self.memory.forget(name, without)
        self.labels = without(self.labels) if self.labels is not None else None

    def track(self, video: VideoSource, annotations: Mapping[int, Sequence[Annotation]], *, both_ways: bool = True) -> Track:
        """Follows through a whole video, at once.

        All answers are held in memory, an id map a frame; `followspot.follow` gives them one by one.

        Args:
            video: the source.
            annotations: by frame index.
            both_ways: also carry annotations to earlier frames.

        Returns:
            One answer a frame, and the frame to annotate next.

        Raises:
            AnnotationError: nothing is annotated, or a frame that does not exist.
        """
        from followspot.tracking.both_ways import follow  # which is built on this class

        frames = tuple(answer for _, answer in follow(self, video, annotations, both_ways=both_ways))
        return Track(frames=frames, suggestion=suggest(frames, annotated=sorted(annotations)))

    def stream(self, frames: Iterable[Frame], annotations: Mapping[int, Sequence[Annotation]]) -> Iterator[TrackedFrame]:
        """Answers frame by frame, forward only, at constant memory: for cameras and videos without an end.

        Args:
            frames: from anywhere; frames before the first annotated one are passed over.
            annotations: by frame index.

        Yields:
            One answer a frame, from the first annotated frame on.

        Raises:
            AnnotationError: nothing is annotated, or the video ends before the annotated frame.
        """
        yield from stream(self, frames, annotations, following=lambda: self.channels is not None)

    @torch.inference_mode()
    def encode(self, frame: Frame) -> Tensor:
        """Features ``(C, h, w)`` of a frame at the preset's resolution."""
        if isinstance(frame, EncodedFrame):
            return frame.features
        height, width = frame.image.shape[:2]
        stride = self.encoder.stride
        h, w = self.preset.resolution.grid(height, width, stride=stride)
        return encode_image(self.encoder, frame.image, size=(h * stride, w * stride)).to(self.device)

    def _look(self, frame: Frame) -> Tensor:
        if self.channels is not None:
            require_size(frame, self.channels.image_size)
        size = frame.image.shape[:2]
        self.features = self.encode(frame)
        self._frame = frame
        self._image_size: tuple[int, int] = (size[0], size[1])
        self._grid: tuple[int, int] = (self.features.shape[1], self.features.shape[2])
        return self.features

    def _normalized(self, channels: Channels, labels: Tensor) -> Tensor:
        rows = channels.indices("background", "mask")
        if not self.preset.class_normalize or not rows:
            return labels
        flat = labels[rows].flatten(1)
        low, high = flat.amin(1), flat.amax(1)
        spread = (high - low).clamp(min=1e-6)
        labels = labels.clone()
        labels[rows] = (labels[rows] - low[:, None, None]) / spread[:, None, None] * (high > 1e-6)[:, None, None]
        return labels

    def _answer(self, given: Collection[int], annotations: Sequence[Annotation]) -> TrackedFrame:
        if self.channels is None or self.labels is None or self._frame is None:
            raise SettingError("there is no answer before start(): call start(frame, annotations) on the annotated frame first")
        return answer(
            self._frame,
            self.channels,
            self.labels,
            features=self.features if self.confidence else None,
            anchors=self.memory.anchors(),
            fixed=frozenset(self.channels.items[i].key for i in given),
            annotations=annotations,
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, without features: plain data and label arrays.

        Returns:
            A dict for `restore`; arrays are float32 ``(L, h, w)``.
        """
        if self.channels is None or self.labels is None or self._frame is None:
            raise SettingError("there is no state before start()")
        own = {"channels": self.channels.state(), "frame": self._frame.index, "labels": self.labels.cpu().numpy()}
        return own | self.memory.state()

    @torch.inference_mode()
    def restore(self, state: Mapping[str, Any], frame_at: Callable[[int], Frame]) -> None:
        """Goes on where `state` was taken, bit for bit: remembered frames are encoded anew.

        Args:
            state: from `state`.
            frame_at: gives the frame of an index.
        """
        self.reset()
        self.channels = Channels.from_state(state["channels"])
        self.memory.restore(state, lambda index: self.encode(frame_at(index)), newest=state["frame"])
        self._look(frame_at(state["frame"]))
        self.labels = torch.from_numpy(state["labels"]).to(self.device)
