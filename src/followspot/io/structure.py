"""Does a video file end where its own headers say, and what is it if not a video? Plain byte reading, no decoder.

Layouts: ISO/IEC 14496-12 (mp4, mov: boxes of size + type), RIFF (avi), EBML / Matroska (RFC 8794, RFC 9559), GIF89a.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ISO_TYPES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"pnot")
_EBML_ID, _SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ZERO_TAIL = 4096
"""A tail of this many zero bytes is a preallocated download that never finished: no codec writes a disk block of zeros."""


@dataclass(frozen=True)
class Box:
    """One top-level box of an ISO media file; ``end`` is where it should end."""

    kind: bytes
    start: int
    end: int


def iso_boxes(path: Path) -> list[Box]:
    """The top-level boxes of an mp4 or mov file; empty for anything else."""
    boxes: list[Box] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        while (start := boxes[-1].end if boxes else 0) + 8 <= size:
            file.seek(start)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if not boxes and kind not in _ISO_TYPES:
                return []
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            elif length == 0:
                length = size - start
            if length < 8:
                break
            boxes.append(Box(kind, start, start + length))
    return boxes


def ends_early(path: Path) -> bool:
    """Whether the file is shorter than its own headers say, or its tail was never written.

    True only on evidence: a live recording of unknown length, or a format without lengths, is not early.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(max(0, size - _ZERO_TAIL))
        tail = file.read()
        if size > _ZERO_TAIL and not any(tail):
            return True
        if head[:4] == b"RIFF":
            return int.from_bytes(head[4:8], "little") + 8 > size
        if head[:4] == _EBML_ID:
            end = _segment_end(file)
            return end is not None and end > size
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return _gif_is_cut(file)
    boxes = iso_boxes(path)
    return bool(boxes) and boxes[-1].end > size


def _segment_end(file: BinaryIO) -> int | None:
    """Where the Matroska segment should end; None if its length is unknown (a live recording)."""
    file.seek(4)
    header = _ebml_size(file)
    if header is None:
        return None
    file.seek(header, 1)
    if file.read(4) != _SEGMENT_ID:
        return None
    length = _ebml_size(file)
    return None if length is None else file.tell() + length


def _ebml_size(file: BinaryIO) -> int | None:
    """A variable-length integer (RFC 8794 §4): the leading zero bits give the bytes, all ones mean unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    count = 9 - first[0].bit_length()
    raw = int.from_bytes(first + file.read(count - 1), "big")
    mask = (1 << (7 * count)) - 1
    return None if raw & mask == mask else raw & mask


def _gif_is_cut(file: BinaryIO) -> bool:
    """Whether a GIF ends inside a block; one that only lacks its last byte, the trailer, still shows every picture."""
    file.seek(10)
    file.seek(2 + _palette_bytes(file.read(1)), 1)
    while (kind := file.read(1)) in (b"!", b","):
        if kind == b"!":
            file.read(1)
        else:
            file.seek(8, 1)
            file.seek(_palette_bytes(file.read(1)) + 1, 1)
        while length := file.read(1):
            if length == b"\0":
                break
            if len(file.read(length[0])) < length[0]:
                return True
        else:
            return True
    return False


def _palette_bytes(flags: bytes) -> int:
    """Size of the colour table that a GIF flag byte announces (GIF89a §18, §20)."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def lacks_index(path: Path) -> bool:
    """Whether this is an mp4 or mov whose index (the moov box) is missing."""
    kinds = {box.kind for box in iso_boxes(path)}
    return bool(kinds) and b"moov" not in kinds


def codec_code(path: Path) -> str | None:
    """The four letters by which an mp4 or mov names its video codec; None for other files."""
    moov = next((box for box in iso_boxes(path) if box.kind == b"moov"), None)
    if moov is None:
        return None
    with path.open("rb") as file:
        file.seek(moov.start)
        content = file.read(moov.end - moov.start)
    # 'stsd', version and flags, entry count, entry size, then the code: 4 bytes each.
    table = content.find(b"stsd", max(0, content.find(b"vide")))
    code = content[table + 16 : table + 20]
    return code.decode("latin-1") if table >= 0 and len(code) == 4 else None


def beginning(path: Path) -> str | None:
    """The first characters if the file starts with text, None if it does not."""
    with path.open("rb") as file:
        head = file.read(64)
    text = head.decode("utf-8", errors="ignore")
    shown = " ".join(text.split())
    # Up to 3 bytes may be lost where the 64 bytes cut a character.
    is_text = bool(shown) and shown.isprintable() and len(text.encode()) >= len(head) - 3
    return shown[:40] if is_text else None


def unreadable(path: Path, reason: str) -> str:
    """One line that says why a file is no video and what to do."""
    if path.stat().st_size == 0:
        return f"{path} is empty (0 bytes); copy or download it again"
    text = beginning(path)
    if text is not None:
        page = text.lower().startswith(("<!doctype", "<html", "<?xml", "<head"))
        cure = (
            "is it a download error page? download it again" if page else "it seems to be a text file; give a video or a folder of images"
        )
        return f"{path} is not a video PyAV can read: it starts with {text!r}; {cure}"
    if lacks_index(path):
        return f"{path} has no index (moov), so the recording or copy was cut off; copy it again, or repair it with a tool such as untrunc"
    if ends_early(path):
        return f"{path} is cut off: its headers speak of more bytes than are there ({reason}); copy or download it again"
    return f"{path} is not a video PyAV can read ({reason}); if a player shows it, convert it: ffmpeg -i {path.name} -c:v libx264 out.mp4"
