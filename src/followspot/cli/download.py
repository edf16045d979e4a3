"""``followspot download kinetics`` and ``followspot download davis``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from followspot.cli.progress import Stages

# Failures that are printed; the rest stand in the table.
_SHOWN = 20


def kinetics(
    index: Annotated[Path, Parameter(name="LIST", help="Kinetics' JSON: {KEY: {url, annotations: {segment: [start, end]}}}.")],
    /,
    *,
    out: Path,
    workers: int = 4,
    preferred_height: int = 256,
    limit: int | None = None,
    tries: int = 5,
    retry_failed: bool = False,
) -> None:
    """Fetch the clips of a list: videos of web pages or files, cut to their segment. Run it again to go on.

    Clips appear whole as OUT/KEY.mp4, so prepare and train may read the folder meanwhile. OUT/status.csv says what became of each.

    Args:
        out: Folder for the clips.
        workers: Clips that are fetched at a time.
        preferred_height: Wanted pixels of the shorter side: the smallest format that has as many, or else the largest.
        limit: Only the first so many clips of the list.
        tries: How often a fetch is tried; a busy server is left alone for a minute, then two, then four.
        retry_failed: Try clips again that an earlier run gave up.
    """
    from followspot.jobs.kinetics import KineticsSettings, download_kinetics

    settings = KineticsSettings(workers=workers, preferred_side=preferred_height, limit=limit, tries=tries, retry_failed=retry_failed)
    with Stages("clips") as progress:
        report = download_kinetics(index, out, settings=settings, on_clip=lambda done, total: progress("fetching", done, total))
    counts = ", ".join(f"{count} {status}" for status, count in report.counts().items() if count)
    print(f"{len(report.rows)} clips: {counts}; {report.attempted} tried now; saved to {report.table}")
    failed = [row for row in report.rows if row.status != "success"]
    for row in failed[:_SHOWN]:
        print(f"  {row.key}: {row.status} ({row.reason})")
    if len(failed) > _SHOWN:
        print(f"  and {len(failed) - _SHOWN} more, see {report.table}")


def davis(
    *,
    out: Path,
    part: Literal["trainval", "test-dev"] = "trainval",
    url: str | None = None,
    sha256: str | None = None,
    tries: int = 5,
) -> None:
    """Fetch DAVIS 2017 at 480p from its server and unpack it to OUT/DAVIS. Run it again to go on, or to mend what is missing.

    DAVIS may be used as its licence says (CC BY-NC 4.0); train on none of it what you want to score on it.

    Args:
        out: Folder for DAVIS/.
        part: trainval (train and val of both years), or test-dev.
        url: Another address of the archive.
        sha256: What the archive must hash to.
        tries: How often fetching is tried; a busy server is left alone for a minute, then two, then four.
    """
    from followspot.jobs.davis_download import download_davis

    with Stages("files") as progress:
        done = download_davis(
            out, part=part, url=url, sha256=sha256, tries=tries, progress=lambda number, total: progress("unpacking", number, total)
        )
    fetched = f"{done.downloaded / 1e6:.1f} MB fetched" if done.downloaded else "nothing to fetch"
    print(f"{done.files} files are there, {fetched}; saved to {done.folder}")
