"""``followspot experiment suggestion``: is the suggested frame the one to annotate?"""

from pathlib import Path
from typing import Literal

from followspot.cli.options import EncoderOptions, PropagationOptions, build_preset, usable_device
from followspot.cli.progress import Stages


def suggestion(
    *,
    data: Path,
    out: Path,
    split: str = "val",
    year: Literal["2016", "2017"] | None = None,
    sequences: str | None = None,
    every: int = 1,
    draws: int = 5,
    seed: int = 0,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Is the suggested frame the one to annotate?

    Each video is followed from its first mask, one frame more is annotated with the truth, and the video is followed both ways again: the
    frame that is suggested, the middle one, random ones, the last, and the worst, which only the truth knows. A stopped experiment goes on
    when the same command is given again.

    Args:
        data: DAVIS folder, or one like it, with masks in every frame.
        out: Folder for suggestion.md, .csv and .png, suggestion-sequences.md and .csv, and the overlaps of each run.
        split: Name of a list of sequences.
        year: Where a list is in both: 2016 (all objects are one) or 2017.
        sequences: Names of sequences in that list, with commas between; default all.
        every: Use one frame in so many, so that things move faster and more goes wrong.
        draws: Random frames a video.
        seed: Another number draws other random frames.
    """
    from followspot.benchmarks.davis import DavisBenchmark
    from followspot.benchmarks.selection import only
    from followspot.datasets.davis import DavisDataset
    from followspot.jobs.experiments.suggestion import SuggestionSettings
    from followspot.jobs.experiments.suggestion import suggestion as run
    from followspot.models.encoder import load_encoder

    dataset = DavisDataset(data, year=year, split=split)
    if sequences is not None:
        benchmark = only(DavisBenchmark(dataset), [name.strip() for name in sequences.split(",") if name.strip()])
        assert isinstance(benchmark, DavisBenchmark)
        dataset = benchmark.dataset
    settings = SuggestionSettings(every=every, draws=draws, seed=seed, preset=build_preset(propagation))
    network = load_encoder(encoder.encoder, stride=encoder.stride, weights=encoder.weights)
    with Stages("videos") as progress:
        device = usable_device(encoder.device)
        tables = run(out, dataset, network, settings, device=device, progress=lambda done, total: progress("following", done, total))
    for table in tables:
        print(table.text())
    print(f"saved to {out}: suggestion.md, suggestion.csv, suggestion.png, suggestion-sequences.md, suggestion-sequences.csv")
