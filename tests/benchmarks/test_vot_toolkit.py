"""F144 against the official judge: what vot-toolkit 0.7.4 said about four trackers on six sequences (made by results/vot_toolkit.py)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks.vot import VotBenchmark
from followspot.io.regions import Code, parse_region
from followspot.metrics.overlap import overlap
from followspot.metrics.vot import INTERVALS, Run, accuracy, expected_average_overlap, expected_overlap, robustness

RESULTS = Path(__file__).resolve().parents[2] / "results"
SAID = json.loads((RESULTS / "vot_toolkit.json").read_text())["same_runs"]
RUNS = json.loads((RESULTS / "vot_toolkit_runs.json").read_text())
TRACKERS = tuple(RUNS)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("vot_toolkit", RESULTS / "vot_toolkit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_of(lines, overlaps):
    values = np.array([np.nan if value is None else value for value in overlaps])
    starts, failures = (tuple(at for at, line in enumerate(lines) if line == str(int(code))) for code in (Code.STARTED, Code.FAILED))
    return Run(overlaps=values, starts=starts, failures=failures)


def test_there_are_six_sequences_with_and_without_failures():
    assert {name: len(sequences) for name, sequences in RUNS.items()} == dict.fromkeys(("descriptor", "template", "identity", "drift"), 6)
    lost = {name: sum(row["lost"] for row in said["toolkit"]["sequences"].values()) for name, said in SAID.items()}
    assert min(lost.values()) > 0
    assert any(row["lost"] == 0 for row in SAID["template"]["toolkit"]["sequences"].values())


def test_the_page_has_the_figures_of_the_results():
    page = (RESULTS.parent / "docs" / "vot.md").read_text()
    for name, said in SAID.items():
        for judge, label in (("toolkit", f"| {name} | vot-toolkit"), ("followspot", "| | followspot")):
            values = [said[judge]["A"], said[judge]["R"], *said[judge]["EAO"].values()]
            row = " | ".join("none" if value is None else f"{value:.5f}" for value in values)
            assert f"{label} | {row} |" in page


@pytest.mark.parametrize("name", TRACKERS)
def test_f144_from_the_same_overlaps_come_the_same_numbers(name):
    """The toolkit's overlaps in, the toolkit's accuracy, robustness and EAO out."""
    runs, said = [[run_of(**run)] for run in RUNS[name].values()], SAID[name]["toolkit"]
    assert accuracy(runs, convention="toolkit") == pytest.approx(said["A"], abs=1e-6)
    assert robustness(runs, convention="toolkit") == pytest.approx(said["R"], abs=1e-9)
    curve = expected_overlap(runs, convention="toolkit")
    np.testing.assert_allclose(curve, said["curve"], atol=1e-6)
    for year, interval in INTERVALS.items():
        found = expected_average_overlap(curve, interval, convention="toolkit")
        assert found == pytest.approx(np.nan if said["EAO"][year] is None else said["EAO"][year], abs=1e-6, nan_ok=True)
    for (run,), row in zip(runs, said["sequences"].values(), strict=True):
        assert accuracy([[run]], convention="toolkit") == pytest.approx(row["A"], abs=1e-6)
        assert len(run.failures) == row["lost"]


@pytest.fixture(scope="module")
def truth(script, shared_data, tmp_path_factory):
    """The six sequences: true regions, and the first frames; the others are empty files, as no score looks at them."""
    root = tmp_path_factory.mktemp("six") / "sequences"
    for name, video, start, stop, scale, mirrored in script.SEQUENCES:
        folder = root / name
        script.make_sequence(shared_data / "boxes", folder, video=video, start=start, stop=start + 1, scale=scale, mirrored=mirrored)
        with Image.open(folder / "color" / "00000001.jpg") as image:
            regions = script.truth_of(shared_data / "boxes", video=video, scale=scale, mirrored=mirrored, width=image.width)
        script.write_truth(folder / "groundtruth.txt", regions[start:stop])
        for number in range(2, stop - start + 1):
            (folder / "color" / f"{number:08d}.jpg").touch()
    (root / "list.txt").write_text("".join(f"{name}\n" for name, *_ in script.SEQUENCES))
    return root


@pytest.mark.parametrize("name", TRACKERS)
def test_f145_f146_runs_that_the_toolkit_wrote_score_the_same_here(name, truth, tmp_path):
    for sequence, run in RUNS[name].items():
        (tmp_path / sequence).mkdir()
        (tmp_path / sequence / f"{sequence}_001.txt").write_text("\n".join(run["lines"]) + "\n")
    said = SAID[name]["toolkit"]
    for year in INTERVALS:
        scores = VotBenchmark(truth, year=year).score(tmp_path, workers=1).scores
        assert scores["A"] == pytest.approx(said["A"], abs=1e-5)
        assert scores["R"] == pytest.approx(said["R"], abs=1e-9)
        assert scores["EAO"] == pytest.approx(np.nan if said["EAO"][year] is None else said["EAO"][year], abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", TRACKERS)
def test_f145_overlaps_of_every_frame(name, truth):
    """Equal, but for a pixel now and then where an edge passes exactly between two."""
    apart = []
    for sequence, run in RUNS[name].items():
        with Image.open(truth / sequence / "color" / "00000001.jpg") as image:
            size = image.height, image.width
        lines = (truth / sequence / "groundtruth.txt").read_text().splitlines()
        for at, (line, real, theirs) in enumerate(zip(run["lines"], lines, run["overlaps"], strict=True)):
            if theirs is not None:
                regions = parse_region(line, f"{sequence}:{at}"), parse_region(real, f"{sequence}:{at}")
                apart.append(abs(overlap(*regions, size=size, measure="toolkit") - theirs))
    assert np.mean(np.array(apart) > 2e-6) < 0.02
    assert max(apart) < 0.002
