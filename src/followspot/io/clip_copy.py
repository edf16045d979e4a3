"""Videos that are small clips already are taken over packet by packet, without loss."""

from collections.abc import Sequence
from pathlib import Path

from followspot.io.change import ChangeMeter
from followspot.io.clip_format import GOP, SLACK, SMALLEST, ClipFacts, MadeClip, TranscodeSettings, clip_size
from followspot.io.files import output_error
from followspot.io.frame_index import video_stream
from followspot.io.source import VideoSource

_REGULAR = 0.25
"""How far, in frames, a time stamp may lie beside an even clock, so that rounding still gives the frame's number."""


def copy_clip(source: VideoSource, original: Path, *, target: Path, settings: TranscodeSettings) -> MadeClip | None:
    """The file taken over packet by packet, or None where it does not fit the settings."""
    if not _looks_right(source, original, short_side=settings.short_side):
        return None
    fps = _regular_fps(original)
    if fps is None or not _fits(source, fps=fps, settings=settings):
        return None
    meter, facts = ChangeMeter(), ClipFacts()
    for frame in source.frames():
        change = meter.add(frame.image)
        if settings.split_cuts and change.is_cut:
            return None
        facts.add(frame.image, change.difference)
    if not _copy_packets(original, target) or _regular_fps(target, frames=facts.count) is None:
        target.unlink(missing_ok=True)
        return None
    return facts.clip(target, fps=fps, start_seconds=0.0, copied=True)


def _looks_right(source: VideoSource, original: Path, *, short_side: int | None) -> bool:
    """Whether size and coding are those of a clip; tells large files apart before all of them is read."""
    import av

    size = (source.height, source.width)
    if min(size) < SMALLEST or clip_size(*size, short_side=short_side) != size:
        return False
    with av.open(str(original)) as container:
        stream = video_stream(container, original)
        first = next(container.decode(stream), None)
        if first is None or first.rotation % 360 or (first.height, first.width) != size:
            return False  # readers of a store do not turn pictures
        return stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"


def _fits(source: VideoSource, *, fps: float, settings: TranscodeSettings) -> bool:
    """Whether rate and length are within the settings."""
    count = source.num_frames or 0
    if settings.fps_limit is not None and fps > settings.fps_limit * (1 + 1e-6):
        return False
    return settings.min_frames <= count <= settings.max_seconds * fps * SLACK


def _regular_fps(path: Path, *, frames: int | None = None) -> float | None:
    """The rate of a file with an even clock and key frames close together; None for any other.

    Args:
        path: the file.
        frames: how many it must have; None: any number.
    """
    import av

    with av.open(str(path)) as container:
        stream = video_stream(container, path)
        try:
            packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size]
        except av.FFmpegError:
            return None
        tick = stream.time_base
    if tick is None or not _groups_are_closed(packets):
        return None
    times = sorted(time for time, _ in packets if time is not None)
    if len(times) < 2 or frames not in (None, len(times)):
        return None
    step = (times[-1] - times[0]) / (len(times) - 1)
    if step <= 0 or any(abs((time - times[0]) / step - number) > _REGULAR for number, time in enumerate(times)):
        return None
    places = {time: number for number, time in enumerate(times)}
    keys = sorted(places[time] for time, is_key in packets if is_key and time is not None)
    gaps = [late - early for early, late in zip(keys, [*keys[1:], len(times)], strict=True)]
    return float(1 / (step * tick)) if keys[:1] == [0] and max(gaps) <= GOP else None


def _groups_are_closed(packets: Sequence[tuple[int | None, bool]]) -> bool:
    """Whether all frames have a time and nothing that is coded after a key frame is shown before it.

    What is shown before it needs frames from before it, which whoever begins to decode at the key frame does not have.

    Args:
        packets: presentation time and whether it is a key frame, in the order of coding.
    """
    key: int | None = None
    for time, is_key in packets:
        if time is None or (key is not None and time < key):
            return False
        key = time if is_key else key
    return True


def _copy_packets(original: Path, target: Path) -> bool:
    """The video stream alone, in a new mp4 with its index first.

    Returns:
        Whether an mp4 can hold the packets.

    Raises:
        OutputError: the disk is full or the target cannot be written.
    """
    import av

    try:
        with av.open(str(original)) as source:
            stream = video_stream(source, original)
            with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as out:
                copy = out.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.size:
                        packet.stream = copy
                        out.mux(packet)
    except (av.FFmpegError, OSError, ValueError) as error:
        target.unlink(missing_ok=True)
        told = output_error(error, target) if isinstance(error, OSError) else None
        if told is not None:
            raise told from error
        return False
    return True
