"""Where replay keeps its clips: plain in memory or on a device, encoded in memory, or one file a clip on disk."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import DatasetError, OutputError
from followspot.io.files import atomic_path

Encoding = Literal["raw", "png", "jpeg", "webp"]
JPEG_QUALITY = 95
"""Of jpeg (without chroma subsampling, as colours are what is learnt from) and webp: about one grey level away from the raw frames."""


def encode_clip(clip: Tensor, encoding: Encoding) -> NDArray[np.uint8]:
    """A clip ``(T, 3, S, S)`` uint8 as bytes; its frames, one below the other, are one picture."""
    if encoding == "raw":
        return np.ascontiguousarray(clip.cpu().numpy()).reshape(-1)
    import cv2

    tall = np.ascontiguousarray(clip.cpu().permute(0, 2, 3, 1).flip(-1).flatten(0, 1).numpy())
    options = {
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, JPEG_QUALITY],
    }[encoding]
    done, packed = cv2.imencode("." + encoding, tall, options)
    if not done:
        raise OutputError(f"a clip of {tuple(clip.shape)} cannot be kept as {encoding}; keep replay raw")
    return np.asarray(packed, np.uint8).reshape(-1)


def decode_clip(packed: NDArray[np.uint8], encoding: Encoding, *, shape: Sequence[int]) -> Tensor:
    """The inverse of :func:`encode_clip`: ``(T, 3, S, S)`` uint8 on the CPU.

    Raises:
        DatasetError: the bytes are damaged.
    """
    frames, _, height, width = shape
    if encoding == "raw" and packed.size == frames * 3 * height * width:
        return torch.from_numpy(np.array(packed)).view(*shape)
    import cv2

    tall = None if encoding == "raw" or packed.size == 0 else cv2.imdecode(packed, cv2.IMREAD_COLOR)
    if tall is None or tall.shape != (frames * height, width, 3):
        raise DatasetError(f"a clip in replay is damaged ({packed.size} bytes of {encoding}); start replay anew")
    return torch.from_numpy(tall).flip(-1).view(frames, height, width, 3).permute(0, 3, 1, 2).contiguous()


class ClipShelf(ABC):
    """Numbered places for clips of one shape."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] | None = None
        """``(T, 3, S, S)`` of all clips, known from the first one on."""

    def put(self, slot: int, clip: Tensor) -> None:
        """Keep a clip ``(T, 3, S, S)`` uint8 in a slot, instead of what was there.

        Raises:
            DatasetError: its shape differs from the others'.
        """
        self.shape = self.shape or tuple(clip.shape)
        if tuple(clip.shape) != self.shape or clip.dtype != torch.uint8:
            raise DatasetError(f"a clip of {tuple(clip.shape)} {clip.dtype} cannot join replay of {self.shape} uint8; start replay anew")
        self._put(slot, clip)

    @abstractmethod
    def _put(self, slot: int, clip: Tensor) -> None: ...

    @abstractmethod
    def take(self, slots: Sequence[int]) -> Tensor:
        """``(n, T, 3, S, S)`` uint8; where the clips are kept for ``device``, else on the CPU."""

    @abstractmethod
    def state(self, slots: Sequence[int]) -> dict[str, Tensor]:
        """What :meth:`restore` needs to have the clips of these slots again."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor], slots: Sequence[int]) -> None:
        """Have the clips again that :meth:`state` told of, whatever was here."""


class PlainShelf(ClipShelf):
    """One tensor for all clips; 10000 clips of 4 x 256 x 256 are 7.9 GB.

    Args:
        capacity: how many slots.
        device: where.
    """

    def __init__(self, capacity: int, *, device: torch.device) -> None:
        super().__init__()
        self._capacity = capacity
        self._device = device
        self._clips: Tensor | None = None

    def _put(self, slot: int, clip: Tensor) -> None:
        self._room(clip.shape)[slot] = clip.to(self._device, non_blocking=True)

    def take(self, slots: Sequence[int]) -> Tensor:
        """Clips of some slots; see :class:`ClipShelf`."""
        assert self._clips is not None
        return self._clips[torch.as_tensor(slots, device=self._device)]

    def state(self, slots: Sequence[int]) -> dict[str, Tensor]:
        """What :meth:`restore` needs; see :class:`ClipShelf`."""
        return {"clips": self.take(slots).cpu()}

    def restore(self, state: Mapping[str, Tensor], slots: Sequence[int]) -> None:
        """Have the clips of a state again; see :class:`ClipShelf`."""
        self.shape = tuple(state["clips"].shape[1:])
        self._room(self.shape)[torch.as_tensor(slots, device=self._device)] = state["clips"].to(self._device)

    def _room(self, shape: Sequence[int]) -> Tensor:
        if self._clips is None:
            # Zeroed pages cost no memory until they are written to.
            self._clips = torch.zeros(self._capacity, *shape, dtype=torch.uint8, device=self._device)
        return self._clips


class PackedShelf(ClipShelf):
    """Encoded clips in memory: about a tenth of the size as jpeg.

    Args:
        encoding: how.
    """

    def __init__(self, *, encoding: Encoding) -> None:
        super().__init__()
        self._encoding: Encoding = encoding
        self._packed: dict[int, NDArray[np.uint8]] = {}

    def _put(self, slot: int, clip: Tensor) -> None:
        self._packed[slot] = encode_clip(clip, self._encoding)

    def take(self, slots: Sequence[int]) -> Tensor:
        """Clips of some slots; see :class:`ClipShelf`."""
        assert self.shape is not None
        return torch.stack([decode_clip(self._packed[slot], self._encoding, shape=self.shape) for slot in slots])

    def state(self, slots: Sequence[int]) -> dict[str, Tensor]:
        """What :meth:`restore` needs; see :class:`ClipShelf`."""
        assert self.shape is not None
        parts = [self._packed[slot] for slot in slots]
        sizes = torch.tensor([len(part) for part in parts])
        return {"packed": torch.from_numpy(np.concatenate(parts)), "sizes": sizes, "shape": torch.tensor(self.shape)}

    def restore(self, state: Mapping[str, Tensor], slots: Sequence[int]) -> None:
        """Have the clips of a state again; see :class:`ClipShelf`."""
        self.shape = tuple(int(side) for side in state["shape"])
        parts = torch.split(state["packed"], state["sizes"].tolist())
        self._packed = {slot: part.numpy().copy() for slot, part in zip(slots, parts, strict=True)}


class DiskShelf(ClipShelf):
    """One file a clip, mapped into memory when it is read.

    A file that a checkpoint speaks of is not deleted before two newer checkpoints exist, so that a run that was killed finds the clips as
    they were when its checkpoint was written.

    Args:
        folder: where; made if missing.
        encoding: how.
    """

    def __init__(self, folder: Path, *, encoding: Encoding) -> None:
        super().__init__()
        self._folder = folder
        self._encoding: Encoding = encoding
        self._serials: dict[int, int] = {}
        self._next = 0
        self._promised: deque[set[int]] = deque(maxlen=2)

    def _put(self, slot: int, clip: Tensor) -> None:
        packed = encode_clip(clip, self._encoding)
        with atomic_path(self._file(self._next)) as partial:
            packed.tofile(partial)
        old = self._serials.get(slot)
        self._serials[slot] = self._next
        self._next += 1
        if old is not None and not any(old in promised for promised in self._promised):
            self._file(old).unlink(missing_ok=True)

    def take(self, slots: Sequence[int]) -> Tensor:
        """Clips of some slots; see :class:`ClipShelf`."""
        assert self.shape is not None
        clips = []
        for slot in slots:
            file = self._file(self._serials[slot])
            packed = np.memmap(file, np.uint8, mode="r") if file.stat().st_size else np.zeros(0, np.uint8)
            clips.append(decode_clip(packed, self._encoding, shape=self.shape))
        return torch.stack(clips)

    def state(self, slots: Sequence[int]) -> dict[str, Tensor]:
        """What :meth:`restore` needs; see :class:`ClipShelf`."""
        assert self.shape is not None
        self._promise()
        serials = torch.tensor([self._serials[slot] for slot in slots])
        return {"serials": serials, "next": torch.tensor(self._next), "shape": torch.tensor(self.shape)}

    def restore(self, state: Mapping[str, Tensor], slots: Sequence[int]) -> None:
        """Have the clips of a state again; see :class:`ClipShelf`."""
        self.shape = tuple(int(side) for side in state["shape"])
        self._serials = dict(zip(slots, state["serials"].tolist(), strict=True))
        self._next = int(state["next"])
        gone = [serial for serial in self._serials.values() if not self._file(serial).is_file()]
        if gone:
            raise DatasetError(
                f"{len(gone)} of {len(self._serials)} replay clips are gone from {self._folder} (the first: {self._file(gone[0]).name}); "
                "resume from the newest checkpoint, or without replay's contents"
            )
        self._promise()

    def _promise(self) -> None:
        """Keep what is here now for a checkpoint; one that is written twice over counts once."""
        now = set(self._serials.values())
        if not self._promised or self._promised[-1] != now:
            self._promised.append(now)
        self._sweep()

    def _sweep(self) -> None:
        """Delete the files that nothing speaks of any more."""
        wanted = set(self._serials.values()).union(*self._promised)
        for file in self._folder.glob("*.clip"):
            if file.stem.isdecimal() and int(file.stem) not in wanted:
                file.unlink(missing_ok=True)

    def _file(self, serial: int) -> Path:
        return self._folder / f"{serial:09d}.clip"
