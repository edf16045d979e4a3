"""``followspot demo``: see it work in a minute, with nothing but the package."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from followspot.cli.options import EncoderOptions, PropagationOptions, build_tracker
from followspot.cli.progress import Stages
from followspot.errors import SettingError


def demo(
    *,
    out: Path = Path("followspot-demo"),
    frames: int = 40,
    seed: int = 0,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Make a short video, follow two masks, a box and points through it, and score that.

    Args:
        out: Output folder.
        frames: Length of the video.
        seed: Another seed makes another video.
        overwrite: Replace an earlier demo in the output folder.
    """
    from followspot.jobs.demo import run_demo

    if frames < 2:
        raise SettingError(f"--frames {frames} leaves nothing to follow; use 2 or more")
    if seed < 0:
        raise SettingError(f"--seed {seed} is below 0; use 0, 1, 2 ...")
    tracker = build_tracker(encoder, propagation, confidence=True)
    with Stages() as progress:
        result, score = run_demo(out, tracker, seed=seed, num_frames=frames, overwrite=overwrite, progress=progress)
    if result.computed:
        print(f"followed {result.frames} frames at {result.computed / result.seconds:.1f} frames/s")
    print(
        f"score against the exact truth: J {score.j:.3f}  F {score.f:.3f}  box IoU {score.box_iou:.3f}  points {score.point_error:.1f} px"
    )
    if result.suggestion is not None:
        print(f"annotate next: {result.suggestion.reason}")
    print(f"look at {out / 'overlay.mp4'}; masks/, tracks.json and tracks.csv are beside it")
