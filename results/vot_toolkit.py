"""Our numbers beside those of the official vot-toolkit 0.7.4, on the same runs of trackers that it drove over TraX.

    python -m venv judge && judge/bin/pip install 'vot-toolkit==0.7.4' 'attributee<0.1.10'
    python results/vot_toolkit.py --data ../shared/data/boxes --work out/vot --toolkit judge/bin/vot

Six sequences of 120 to 136 frames are cut from three videos with boxes or polygons; one is mirrored, one shown at three quarters of its
size. The toolkit runs its supervised experiment (resets, one repetition) with each tracker and analyses it over the intervals of 2016,
2018 and 2019. Then `followspot.benchmarks.vot` scores the text files that the toolkit wrote, and `followspot evaluate` runs the same
trackers itself. Writes vot_toolkit.json (numbers), vot_toolkit_runs.json (the runs, and the toolkit's overlap in each frame) and the
tables of vot_toolkit.md. What the toolkit has run already is not run again, so a stopped comparison goes on.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.vot import VotBenchmark
from followspot.metrics.vot import INTERVALS

# Name, video, first and last frame (exclusive), scale, mirrored.
SEQUENCES = (
    ("crossing", "otb_Crossing", 0, 120, 1.0, False),
    ("pedestrian", "tld_pedestrian1", 0, 123, 1.0, False),
    ("pedestrian_late", "tld_pedestrian1", 14, 140, 1.0, True),
    ("bag", "vot2015_bag", 0, 121, 1.0, False),
    ("bag_middle", "vot2015_bag", 34, 162, 0.75, False),
    ("bag_late", "vot2015_bag", 60, 196, 1.0, False),
)
# Folder of frames, truth, and what to subtract: OTB counts pixels from 1.
VIDEOS = {
    "otb_Crossing": ("img", "groundtruth_rect.txt", 1.0),
    "tld_pedestrian1": ("img", "groundtruth.txt", 0.0),
    "vot2015_bag": ("color", "groundtruth.txt", 0.0),
}
# What `followspot trax` is given; drift moves away on purpose, so that there are failures and resets.
TRACKERS = {
    "descriptor": "--tracker descriptor --resolution 120",
    "template": "--tracker template",
    "identity": "--tracker identity",
}
DRIFT = """
import numpy as np, trax
with trax.Server([trax.Region.RECTANGLE, trax.Region.POLYGON], [trax.Image.PATH]) as server:
    while True:
        request = server.wait()
        if request.type == "quit":
            break
        if request.type == "initialize":
            region, age = request.objects[0][0], 0
            box = region.bounds() if region.type == "rectangle" else None
            corners = None if box else np.array(list(region))
        age += 1
        if corners is None:
            server.status([(trax.Rectangle.create(box[0] + 0.9 * age, box[1] - 0.4 * age, box[2] + 0.3 * age, box[3]), {})])
        else:
            server.status([(trax.Polygon.create([(float(x + 2.1 * age), float(y + 0.7 * age)) for x, y in corners]), {})])
"""

# Run by the toolkit's own python: regions as text in, overlaps out.
OVERLAPS = """
import json, sys
from vot.region import Polygon, Rectangle, calculate_overlap
task = json.load(sys.stdin)
def region(line):
    v = [float(x) for x in line.split(",")]
    return Rectangle(*v) if len(v) == 4 else Polygon(list(zip(v[::2], v[1::2])))
pairs = zip(task["lines"], task["truth"])
print(json.dumps([round(calculate_overlap(region(a), region(b), tuple(task["size"])), 6) if "," in a else None for a, b in pairs]))
"""


def read_truth(path: Path, *, origin: float) -> NDArray[np.float64]:
    """``(T, 4)`` or ``(T, 8)``; OTB counts pixels from 1."""
    rows = [[float(number) for number in re.split(r"[,\s]+", line.strip())] for line in path.read_text().splitlines() if line.strip()]
    table = np.array(rows)
    return table - origin * (np.arange(table.shape[1]) < 2)


def truth_of(data: Path, *, video: str, scale: float, mirrored: bool, width: int) -> NDArray[np.float64]:
    """The regions of a whole video as a sequence shows it; ``width`` is that of its frames."""
    _, truth, origin = VIDEOS[video]
    regions = read_truth(data / video / truth, origin=origin) * scale
    if mirrored and regions.shape[1] == 4:
        regions[:, 0] = width - regions[:, 0] - regions[:, 2]
    elif mirrored:
        regions[:, ::2] = width - regions[:, ::2]
    return regions


def write_truth(path: Path, regions: NDArray[np.float64]) -> None:
    """A line a frame."""
    np.savetxt(path, regions, fmt="%.3f", delimiter=",")


def make_sequence(data: Path, folder: Path, *, video: str, start: int, stop: int, scale: float, mirrored: bool) -> None:
    """One sequence of the workspace: frames as JPEG, ground truth, facts."""
    (folder / "color").mkdir(parents=True)
    for number, file in enumerate(sorted((data / video / VIDEOS[video][0]).glob("*.jpg"))[start:stop], 1):
        picture = cv2.imread(str(file))
        if scale != 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / "color" / f"{number:08d}.jpg"), picture[:, ::-1] if mirrored else picture)
    regions = truth_of(data, video=video, scale=scale, mirrored=mirrored, width=picture.shape[1])
    write_truth(folder / "groundtruth.txt", regions[start:stop])
    (folder / "sequence").write_text("fps=30\nformat=default\nchannels.color=color/%08d.jpg\n")


def make_workspace(data: Path, work: Path) -> None:
    """Sequences, stack, trackers: all that the toolkit needs."""
    for name, video, start, stop, scale, mirrored in SEQUENCES:
        if not (work / "sequences" / name).is_dir():
            make_sequence(data, work / "sequences" / name, video=video, start=start, stop=stop, scale=scale, mirrored=mirrored)
    (work / "sequences" / "list.txt").write_text("".join(f"{name}\n" for name, *_ in SEQUENCES))
    (work / "drift.py").write_text(DRIFT)
    command = f"{sys.executable} -m followspot trax"
    trackers = {name: f"{command} {options}" for name, options in TRACKERS.items()} | {"drift": f"{sys.executable} {work / 'drift.py'}"}
    sections = [f"[{name}]\nlabel = {name}\nprotocol = trax\ncommand = {command}\n" for name, command in trackers.items()]
    (work / "trackers.ini").write_text("\n".join(sections))
    stack = ["title: six sequences", "experiments:", "  baseline:", "    type: supervised", "    repetitions: 1", "    skip_initialize: 5"]
    stack += [
        "    analyses:",
        "      - type: supervised_average_ar",
        "        sensitivity: 30",
        "      - type: supervised_ar",
        "        sensitivity: 30",
    ]
    for low, high in INTERVALS.values():
        stack += ["      - type: supervised_eao_score", f"        low: {low}", f"        high: {high}"]
    stack += ["      - type: supervised_eao_curve"]
    (work / "stack.yaml").write_text("\n".join(stack) + "\n")
    (work / "config.yaml").write_text(f"registry: [./trackers.ini]\nstack: {work / 'stack.yaml'}\n")


def judge(toolkit: Path, work: Path) -> dict[str, dict[str, object]]:
    """Run and analyse; what the toolkit says about each tracker."""
    environment = os.environ | {"VOT_RESULTS_BINARY": "False"}
    for arguments in (["evaluate"], ["analysis", "--format", "json"]):
        subprocess.run([toolkit, *arguments, "--workspace", work, *TRACKERS, "drift"], check=True, env=environment)
    newest = max((work / "analysis").glob("*.json"), key=lambda path: path.stat().st_mtime)
    document = json.loads(newest.read_text())
    average, by_sequence, *scores, curves = document["results"]["baseline"]["results"]
    found: dict[str, dict[str, object]] = {}
    for place, name in enumerate(document["trackers"]):
        own = by_sequence[len(SEQUENCES) * place : len(SEQUENCES) * (place + 1)]
        found[name] = {
            "A": average[place][0],
            "R": average[place][1],
            "EAO": {year: none_for_nan(score[place][0]) for year, score in zip(INTERVALS, scores, strict=True)},
            "sequences": {sequence: {"A": row[0], "lost": row[1]} for (sequence, *_), row in zip(SEQUENCES, own, strict=True)},
            "curve": [round(value, 9) for value in curves[place][0]],
        }
    return found


def overlaps_of_toolkit(toolkit: Path, work: Path) -> dict[str, dict[str, dict[str, list[object]]]]:
    """Lines of all runs, and what the toolkit says the overlap of each answer is."""
    runs: dict[str, dict[str, dict[str, list[object]]]] = {}
    for name in (*TRACKERS, "drift"):
        runs[name] = {}
        for sequence, *_ in SEQUENCES:
            lines = (work / "results" / name / "baseline" / sequence / f"{sequence}_001.txt").read_text().splitlines()
            truth = (work / "sequences" / sequence / "groundtruth.txt").read_text().splitlines()
            height, width = cv2.imread(str(work / "sequences" / sequence / "color" / "00000001.jpg")).shape[:2]
            task = json.dumps({"lines": lines, "truth": truth, "size": [width, height]})
            answer = subprocess.run([toolkit.with_name("python"), "-c", OVERLAPS], input=task, capture_output=True, text=True, check=True)
            runs[name][sequence] = {"lines": lines, "overlaps": json.loads(answer.stdout)}
    return runs


def ours(data: Path, results: Path) -> dict[str, object]:
    """What we say about a folder of runs; the years differ in their intervals only."""
    reports = {year: VotBenchmark(data, year=year).score(results, workers=1) for year in INTERVALS}
    curve = [float(line.split(",")[1]) for line in reports["2018"].files["expected_overlap.csv"].splitlines()[1:]]
    return {
        "A": reports["2018"].scores["A"],
        "R": reports["2018"].scores["R"],
        "EAO": {year: none_for_nan(report.scores["EAO"]) for year, report in reports.items()},
        "sequences": {
            row.sequence: {"A": none_for_nan(row.values["accuracy"]), "lost": row.values["lost"]} for row in reports["2018"].rows
        },
        "curve": curve,
    }


def none_for_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value


def tables(found: dict[str, dict[str, dict[str, object]]], own: dict[str, dict[str, object]], pysot: dict[str, dict[str, float]]) -> str:
    """The tables of vot_toolkit.md."""

    def cells(one: dict[str, object]) -> str:
        values = [one["A"], one["R"], *one["EAO"].values()]  # type: ignore[attr-defined]
        return " | ".join("none" if value is None else f"{value:.5f}" for value in values)

    head = "| A | R | EAO 2016 | EAO 2018 | EAO 2019 |\n|---|---|---|---|---|---|---|\n"
    text = "## The same runs\n\n| tracker | scored by " + head
    for name, both in found.items():
        text += f"| {name} | vot-toolkit | {cells(both['toolkit'])} |\n| | followspot | {cells(both['followspot'])} |\n"
    text += "\n## The same tracker, run by both\n\n| tracker | run by " + head
    for name, one in own.items():
        text += f"| {name} | vot-toolkit, over TraX | {cells(found[name]['toolkit'])} |\n| | `followspot evaluate` | {cells(one)} |\n"
    text += "\n## The same runs by other protocols\n\n| tracker | protocol | A | R | EAO 2018 |\n|---|---|---|---|---|\n"
    for name, protocols in pysot.items():
        text += "".join(f"| {name} | {protocol} | {row} |\n" for protocol, row in protocols.items())
    return text


def by_protocol(work: Path, name: str) -> dict[str, str]:
    """A row of the third table for each protocol."""
    rows = {}
    for protocol in ("toolkit", "exact", "pysot"):
        scores = VotBenchmark(work, year="2018", protocol=protocol).score(work / "results" / name, workers=1).scores
        rows[protocol] = " | ".join("none" if scores[key] != scores[key] else f"{scores[key]:.4f}" for key in ("A", "R", "EAO"))
    return rows


def main() -> None:
    """Make, judge, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with otb_Crossing, tld_pedestrian1 and vot2015_bag")
    parser.add_argument("--work", type=Path, required=True, help="folder for the workspace; made, or used again")
    parser.add_argument("--toolkit", type=Path, required=True, help="the program vot of vot-toolkit 0.7.4")
    given = parser.parse_args()
    here, work, toolkit = Path(__file__).parent, given.work.resolve(), given.toolkit.absolute()
    make_workspace(given.data, work)
    theirs = judge(toolkit, work)
    own = {}
    for name, options in TRACKERS.items():
        command = [sys.executable, "-m", "followspot", "evaluate", "vot2018", "--data", str(work), *options.split()]
        subprocess.run([*command, "--out", str(work / "own" / name)], check=True)
        own[name] = ours(work, work / "own" / name)
    found = {name: {"toolkit": said, "followspot": ours(work, work / "results" / name)} for name, said in theirs.items()}
    (here / "vot_toolkit.json").write_text(json.dumps({"same_runs": found, "own_runs": own}, indent=1) + "\n")
    (here / "vot_toolkit_runs.json").write_text(json.dumps(overlaps_of_toolkit(toolkit, work), separators=(",", ":")) + "\n")
    text = (here / "vot_toolkit.md").read_text() if (here / "vot_toolkit.md").is_file() else "# vot-toolkit and followspot\n\n"
    made = tables(found, own, {name: by_protocol(work, name) for name in found})
    (here / "vot_toolkit.md").write_text(text.split("## The same runs\n")[0] + made)
    print(made)


if __name__ == "__main__":
    main()
