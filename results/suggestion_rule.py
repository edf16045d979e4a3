"""How much one more annotation mends, wherever it is put; `HELP` and `NEARLY` of
`followspot.tracking.suggestion` were chosen by it.

python results/suggestion_rule.py --data DAVIS --cache FOLDER

The first six sequences of the DAVIS list "dev", one frame in two, short side 120, descriptor; each forth and back. Each video is
followed from its first mask, and again with one frame in four annotated too, one after the other. Printed are the share of 1 - J that is
mended at each distance from the annotation, and by how much J rises, on the frames that are annotated in neither run: for frames chosen by
the rule with several values of both, for that of the highest doubt (mean over 5 frames to each side; the rule that was there before), and
by their place in the video. FOLDER keeps the J of each video; what is there is not run again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

import followspot as fs
from followspot.datasets.davis import DavisDataset, DavisSequence
from followspot.io.source import ArrayVideo
from followspot.metrics.region import region_similarity
from followspot.tracking import suggestion
from followspot.tracking.both_ways import follow
from followspot.tracking.presets import PRESETS, Resolution

EVERY, STEP, CHOSEN_ON = 2, 4, 6
SMALLER = 2
"""Pictures and masks are taken at half the size: the tracker sees 120 pixels anyway, and reading out takes a quarter of the time."""
TRIED = (3, 5, 8, 10, 12, 15, 30)
CHOSEN = 10
NEARLY_TRIED = (0.98, 0.95, 0.9, 0.85, 0.8)


def measure(sequence: DavisSequence, *, back: bool) -> dict[str, np.ndarray]:
    """J and confidence of each frame with the first annotation, and J with each other frame annotated too."""
    used = list(range(0, len(sequence), EVERY))[:: -1 if back else 1]
    with fs.open_video(sequence.image_folder) as source:
        video = ArrayVideo([source.frame(index).image[::SMALLER, ::SMALLER] for index in used])
    truth = [np.ascontiguousarray(sequence.read_mask(index)[::SMALLER, ::SMALLER]) for index in used]
    tracker = fs.PropagationTracker("descriptor", replace(PRESETS["default"], resolution=Resolution(pixels=120)), device="cpu")

    def run(marks: list[int]) -> tuple[list[float], list[float]]:
        answers = [answer for _, answer in follow(tracker, video, {mark: [fs.Masks(ids=truth[mark])] for mark in marks})]
        overlaps = [float(region_similarity(answer.masks > 0, truth[answer.index] > 0)) for answer in answers]
        return overlaps, [answer.objects[0].confidence or 0.0 for answer in answers]

    before, confidence = run([0])
    tracker.confidence = False
    others = list(range(1, len(used), STEP))
    return {"j0": np.array(before), "c0": np.array(confidence), "cand": np.array(others), "js": np.array([run([0, c])[0] for c in others])}


def raised(known: dict[str, np.ndarray]) -> np.ndarray:
    """The rise of J by annotating each of the tried frames, mean over the frames that are annotated in neither run."""
    rises = known["js"] - known["j0"]
    return np.array([np.delete(rise, [0, c]).mean() for rise, c in zip(rises, known["cand"], strict=True)])


def show_shares(videos: dict[str, dict[str, np.ndarray]]) -> None:
    """The share of 1 - J that is mended, by the distance from the annotation, after it and before it."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for known in videos.values():
        for c, after in zip(known["cand"], known["js"], strict=True):
            for t in set(range(1, len(after))) - {c}:
                side = "after it" if t > c else "before it, nearer to it" if c - t < t else "before it, nearer to the first"
                key = (side, 2 ** min(int(np.log2(abs(t - c))), 5))
                found.setdefault(key, []).append((after[t] - known["j0"][t], 1 - known["j0"][t]))
    for (side, distance), pairs in sorted(found.items()):
        gained, lacking = np.array(pairs).sum(0)
        print(f"{side}, {distance} to {2 * distance - 1} frames away: {gained / lacking:.2f} ({len(pairs)})")


def show_choices(videos: dict[str, dict[str, np.ndarray]]) -> None:
    """By how much J rises with the frame that each rule chooses, interpolated between the frames that were tried."""
    table: dict[str, list[float]] = {}
    for known in videos.values():
        doubt, gains = 1 - known["c0"], raised(known)
        near = suggestion._around(doubt)

        def at(frame: float, known: dict[str, np.ndarray] = known, gains: np.ndarray = gains) -> float:
            return float(np.interp(frame, known["cand"], gains))

        for value, share in (*((value, 1.0) for value in TRIED), *((CHOSEN, share) for share in NEARLY_TRIED)):
            suggestion.HELP, suggestion.NEARLY = value, share
            gained = suggestion.mended(near, np.zeros(1, np.intp))
            table.setdefault(f"HELP = {value}, NEARLY = {share:g}", []).append(at(suggestion._best(doubt, gained)))
        table.setdefault("highest doubt", []).append(at(1 + int(near[1:].argmax())))
        for name, share in (("middle", 0.5), ("at two thirds", 2 / 3), ("last", 1.0)):
            table.setdefault(name, []).append(at(share * (len(doubt) - 1)))
        table.setdefault("any (mean)", []).append(float(gains.mean()))
        table.setdefault("worst J", []).append(at(1 + int(known["j0"][1:].argmin())))
        table.setdefault("best of those tried", []).append(float(gains.max()))
    print("| frame | " + " | ".join(videos) + " | mean |")
    for name, values in table.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in (*values, np.mean(values))) + " |")


def main() -> None:
    """Follows what is missing, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="keep what was measured here, and use what is there")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    videos = {}
    for sequence in DavisDataset(options.data, split="dev").sequences[:CHOSEN_ON]:
        for back in (False, True):
            name = sequence.name + (", back" if back else "")
            path = options.cache / f"{name}.npz"
            if not path.exists():
                np.savez(path, **measure(sequence, back=back))
            videos[name] = dict(np.load(path))
    show_shares(videos)
    show_choices(videos)


if __name__ == "__main__":
    main()
