"""``followspot flow``: where each pixel of one frame is in another, as a .flo file."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from followspot.cli.options import EncoderOptions, PropagationOptions, build_tracker
from followspot.errors import SettingError


def flow(
    source: Annotated[str, Parameter(help="Video file or folder of frames.")],
    first: Annotated[int, Parameter(help="Frame where the flow begins, counted from 0.")],
    second: Annotated[int, Parameter(help="Frame to which it leads, before or after.")],
    /,
    *,
    out: Path | None = None,
    method: str = "affinity",
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Write the dense flow between two frames, however far apart, in the format of Middlebury.

    By affinity each cell goes to the mean of its best matches, weighted as labels are (--top-k, --temperature, --radius-first).

    Args:
        out: The file; default NAME-FIRST-SECOND.flo.
        method: affinity; or a flow for neighbouring frames: dis, farneback, coarse-to-fine, module:function.
    """
    import numpy as np

    from followspot.io.flow import write_flow
    from followspot.io.video import open_video

    if out is not None and out.suffix != ".flo":
        raise SettingError(f"--out {out} must end in .flo; name it {out.with_suffix('.flo').name}")
    with open_video(source) as video:
        one, two = video.frame(first), video.frame(second)
        target = out or Path(f"{video.name}-{first}-{second}.flo")
    if method == "affinity":
        from followspot.tracking.matching import match_frames

        found = match_frames(build_tracker(encoder, propagation, confidence=False), one, two)
    else:
        from followspot.ops.flow import check_flow
        from followspot.tracking.flow import find_flow

        found = check_flow(find_flow(method)(one.image, two.image), (video.height, video.width), method)
    write_flow(target, found)
    print(f"{target}: {video.width}x{video.height}, median length {np.median(np.hypot(*found)):.1f} px")
