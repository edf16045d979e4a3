"""The numbers and pictures of a report; the page itself is tested in test_report_page.py and in a browser."""

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from followspot.errors import DatasetError, OutputError, SettingError
from followspot.jobs import report_page
from followspot.jobs.report import write_report
from followspot.jobs.report_clip import watch
from followspot.jobs.report_features import clickable, embedding_pictures, features_of, seeing
from followspot.jobs.report_pictures import beside, representative, strip, worst_frames
from followspot.jobs.report_results import results_table
from followspot.jobs.report_runs import read_runs
from followspot.jobs.report_trackers import WeightFiles, build_tracker_of, with_kinds
from followspot.types import Frame


@pytest.fixture(scope="module")
def written(compared, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    write_report([compared, trained], out)
    return out


@pytest.fixture(scope="module")
def group(compared):
    return with_kinds(read_runs([compared]), WeightFiles([])).groups[0]


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(written, name):
    (found,) = (written / "tables").glob(f"{name}*.csv")
    return rows_of(found)


def read_ids(path):
    return np.array(Image.open(path))


def slow_j(results, truth, *, frames):
    """J of every object by counting pixels: {(sequence, id): [value of frame 1, ..., value of the last but one]}."""
    curves = {}
    for sequence, number in frames.items():
        ids = set(np.unique(read_ids(truth / sequence / "00000.png"))) - {0}
        for index in range(1, number - 1):
            predicted, true = (read_ids(folder / sequence / f"{index:05d}.png") for folder in (results, truth))
            for thing in ids:
                union = ((predicted == thing) | (true == thing)).sum()
                value = ((predicted == thing) & (true == thing)).sum() / union if union else 1.0
                curves.setdefault((sequence, str(thing)), []).append(value)
    return curves


@pytest.fixture(scope="module")
def measured(compared, two_videos):
    """The same for both methods."""
    frames = {"plain": 9, 'b<i>&"q"': 12}
    folders = {"identity": compared / "identity", "<u>ours</u>": next(path for path in compared.iterdir() if "ours" in path.name)}
    return {name: slow_j(folder, two_videos / "Annotations/480p", frames=frames) for name, folder in folders.items()}


def test_f148_normalised_course_equals_a_slow_recomputation(written, measured):
    found = table(written, "over-time-normalised")
    assert len(found) == 2 * 20
    for name, curves in measured.items():
        of_method = [row for row in found if row["method"] == name]
        for bin, row in enumerate(of_method):
            means = []
            for curve in curves.values():
                parts = [max(0, min((k + 1) / len(curve), (bin + 1) / 20) - max(k / len(curve), bin / 20)) for k in range(len(curve))]
                means.append(np.dot(parts, curve) / sum(parts))
            assert float(row["mean"]) == pytest.approx(np.mean(means), abs=1e-9)
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
            assert int(row["objects"]) == len(curves)
            assert float(row["from"]) == pytest.approx(bin / 20)


def test_f148_course_over_frames_equals_a_slow_recomputation(written, measured):
    found = table(written, "over-time-frames")
    for name, curves in measured.items():
        for row in (row for row in found if row["method"] == name):
            values = [curve[int(row["frame"]) - 1] for curve in curves.values() if int(row["frame"]) - 1 < len(curve)]
            assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-9)
            assert int(row["objects"]) == len(values)
    assert {int(row["frame"]) for row in found} == set(range(1, 11))


def test_f148_identity_falls_over_time(written):
    means = [float(row["mean"]) for row in table(written, "over-time-normalised") if row["method"] == "identity"]
    assert means[0] > means[-1]


def test_f151_sequences_list_accuracy_and_frames_lost(written, measured):
    found = table(written, "sequences")
    assert len(found) == 4
    for row in found:
        curves = [curve for (sequence, _), curve in measured[row["method"]].items() if sequence == row["sequence"]]
        assert int(row["objects"]) == len(curves)
        assert int(row["frames lost"]) == sum(value == 0 for curve in curves for value in curve)
        assert float(row["J-Mean"]) == pytest.approx(np.mean([np.mean(curve) for curve in curves]))


def test_f150_every_row_is_of_one_kind_and_carries_its_source(written, group):
    found = table(written, "results")
    assert {row["kind"] for row in found} == {"published", "reproduced", "measured"}
    for row in found:
        assert row["source"]
        assert bool(row["reading"]) == (row["kind"] == "published")
    own = {row["method"]: row for row in found if row["kind"] != "published"}
    assert own["identity"]["kind"] == "reproduced"
    assert own["<u>ours</u>"]["kind"] == "measured"
    for run in group.runs:
        for name, value in run.report.scores.items():
            assert float(own[run.name][name]) == value
    published = [row for row in found if row["kind"] == "published" and row["method"] == "Video colorization"]
    assert {row["J-Mean"] for row in published} == {"0.346"}


def test_f150_tables_are_there_as_csv_markdown_and_latex(written, group):
    names = {path.suffix for path in (written / "tables").glob("results-*")}
    assert names == {".csv", ".md", ".tex"}
    content = results_table(group)
    markdown = next((written / "tables").glob("results-*.md")).read_text()
    assert len(markdown.splitlines()) == 2 + len(content.rows)
    latex = next((written / "tables").glob("results-*.tex")).read_text()
    assert latex.count(r"\\") == 1 + len(content.rows)
    assert "&amp;" not in markdown + latex
    assert len(rows_of(written / "tables/published.csv")) > 50


def test_only_runs_on_the_split_of_a_published_row_count_as_reproduced(compared, tmp_path):
    elsewhere = tmp_path / "identity"
    elsewhere.mkdir()
    settings = json.loads((compared / "identity/settings.json").read_text())
    content = json.loads((compared / "identity/report.json").read_text())
    (elsewhere / "settings.json").write_text(json.dumps(settings))
    for change in ({"split": "dev"}, {"protocol": "preliminary"}, {"benchmark": "DAVIS 2016"}):
        (elsewhere / "report.json").write_text(json.dumps(content | change))
        assert with_kinds(read_runs([elsewhere]), WeightFiles([])).groups[0].runs[0].kind == "measured"


def test_f165_every_figure_is_written(written):
    figures = {path.name.split("-davis")[0] for path in (written / "figures").iterdir()}
    assert figures >= {"over-time-normalised", "over-time-frames", "similarity", "training.png"}
    pictures = {path.name.split("-")[0] for path in (written / "pictures").iterdir()}
    assert pictures >= {"embeddings", "failure", "sheet"}
    for path in [*(written / "figures").iterdir(), *(written / "pictures").glob("*.webp")]:
        assert min(Image.open(path).size) > 50


def test_worst_frames_are_the_worst(group, measured):
    found = worst_frames(group.runs[0].report, count=3)
    curves = measured[group.runs[0].name]
    lowest = sorted(min(curve) for curve in curves.values())
    assert [failure.value for failure in found] == pytest.approx(lowest[:3])
    for failure in found:
        curve = curves[failure.row.sequence, failure.row.object]
        assert curve[failure.frame - 1] == min(curve)
        assert curve.index(min(curve)) == failure.frame - 1


def test_f160_sheets_begin_with_the_annotation(group):
    benchmark = group.open()
    truth = benchmark.picture("plain", 0, None)
    sheet = strip(benchmark, "plain", (0, 4, 8), group.runs[0])
    assert np.array_equal(sheet[2:66, 2:98], truth)
    assert np.array_equal(sheet[2:66, 100:196], benchmark.picture("plain", 4, group.runs[0].folder))
    assert sheet.shape == (68, 3 * 98 + 2, 3)


def test_sequences_are_chosen_from_best_to_worst(group):
    means = {name: next(iter(values.values())) for name, values in group.runs[0].report.sequences.items()}
    chosen = representative(group.runs[0].report, count=2)
    assert chosen == sorted(means, key=lambda name: -means[name])


def test_the_tracker_behind_results_is_built_again(group):
    ours = next(run for run in group.runs if run.name != "identity")
    tracker = build_tracker_of(ours, WeightFiles([]))
    assert tracker.preset.resolution.pixels == 64
    assert tracker.encoder.name == "descriptor"


def test_f161_embeddings_of_a_clip_that_stands_still_keep_their_colours(group, two_videos):
    found, _ = seeing(group, WeightFiles([]), count=4)
    still = tuple(Frame(image=found[0].clip.frames[0].image, index=k, time_seconds=k, name=str(k)) for k in range(4))
    clip = type(found[0].clip)(sequence="still", frames=still)
    sheet, mp4 = embedding_pictures(type(found[0])(run=found[0].run, tracker=found[0].tracker, clip=clip))
    assert mp4[4:8] == b"ftyp"
    height = (sheet.shape[0] - 6) // 2
    cells = [sheet[-height - 2 : -2, 2 + k * 98 : 98 + k * 98] for k in range(4)]
    assert all(np.array_equal(cell, cells[0]) for cell in cells)
    assert cells[0].std() > 10


def test_f163_the_page_holds_the_maps_of_every_point_and_where_they_peak(group):
    found, _ = seeing(group, WeightFiles([]))
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', clickable(found[0]), re.DOTALL)[1])
    one = found[0]
    query, key = (one.tracker.encode(one.clip.frames[k]) for k in (len(one.clip.frames) // 2, 0))
    query, key = query / query.norm(dim=0), key / key.norm(dim=0)
    atlas = np.array(Image.open(io.BytesIO(report_page_bytes(data["maps"][0]))))
    rows, columns = data["rows"], data["columns"]
    assert len(data["points"]) == data["across"] * data["down"] == len(data["peaks"][0])
    for index, (x, y) in enumerate(data["points"]):
        row, column = int((y + 0.5) / 64 * rows), int((x + 0.5) / 96 * columns)
        scores = (query[:, row, column, None, None] * key).sum(0).numpy()
        at = np.unravel_index(scores.argmax(), scores.shape)
        top, left = divmod(index, data["across"])
        tile = atlas[top * rows : (top + 1) * rows, left * columns : (left + 1) * columns]
        assert np.unravel_index(tile.argmax(), tile.shape) == at
        assert data["peaks"][0][index] == pytest.approx([(at[1] + 0.5) * 96 / columns - 0.5, (at[0] + 0.5) * 64 / rows - 0.5], abs=0.06)


def report_page_bytes(uri):
    import base64

    return base64.b64decode(uri.split(",", 1)[1])


def test_smaller_features_are_asked_for_at_a_smaller_size(group):
    one = seeing(group, WeightFiles([]))[0][0]
    frame = one.clip.frames[0]
    assert features_of(one.tracker, frame).shape == one.tracker.encode(frame).shape
    assert features_of(one.tracker, frame, side=32).shape[1:] == (4, 6)
    assert features_of(one.tracker, frame, side=999).shape == one.tracker.encode(frame).shape


def test_frames_come_from_the_benchmark_itself(group):
    benchmark = group.open()
    clip = watch(benchmark, "plain", (0, 3, 7))
    assert [frame.index for frame in clip.frames] == [0, 3, 7]
    with pytest.raises(DatasetError, match="shows none"):
        watch(benchmark, "plain", (99,))


def test_confidence_is_compared_with_overlap_where_there_is_a_file(compared, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("settings.json", "report.json"):
        (run / name).write_bytes((compared / "identity" / name).read_bytes())
    lines = ["sequence,object,frame,confidence,j", "plain,1,1,0.95,0.9", "plain,1,2,0.15,0.3", "plain,1,3,0.85,0.2", "plain,1,4,0.5,"]
    (run / "confidence.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    write_report([run], out)
    (rates,) = rows_of(next((out / "tables").glob("alarms-*.csv")))
    assert float(rates["bad answers found"]) == 0.5
    assert float(rates["false alarms"]) == 0
    assert float(rates["area under ROC"]) == 1
    assert float(rates["found at 20 % false alarms"]) == 1
    assert float(rates["calibration error"]) == pytest.approx((0.05 + 0.15 + 0.65) / 3)
    assert [float(row["measured"]) for row in rows_of(next((out / "tables").glob("calibration-*.csv")))] == [0.3, 0.2, 0.9]
    assert list((out / "figures").glob("calibration-*.png"))
    (run / "confidence.csv").write_text("sequence,object,frame,confidence,j\nplain,1,1,1.5,0.5\n")
    with pytest.raises(DatasetError, match=r"confidence\.csv:2"):
        write_report([run], out)


def test_training_curves_are_the_logged_numbers(written, trained):
    logged, shown = rows_of(trained / "metrics.csv"), table(written, "training")
    assert [float(row["loss"]) for row in shown] == [float(row["loss"]) for row in logged]
    assert [float(row["accuracy"]) for row in shown] == [float(row["accuracy"]) for row in logged]


def test_a_training_log_cut_short_by_a_kill_is_read_to_its_last_whole_line(trained, tmp_path):
    (tmp_path / "metrics.csv").write_text((trained / "metrics.csv").read_text() + "60,30")
    (run,) = read_runs([tmp_path]).training
    assert run.columns["step"].tolist() == [10, 20, 30, 40, 50]


def test_results_without_their_benchmark_are_reported_less_the_pictures(compared, tmp_path):
    made = write_report([compared], tmp_path / "out", data=tmp_path / "gone")
    text = made.page.read_text()
    assert text.count("there are no pictures") == 2
    assert 'class="missing"' in text
    assert (tmp_path / "out/tables").is_dir()


def test_keypoints_have_a_table_and_skeletons(tmp_path):
    from followspot.benchmarks.synthetic import SyntheticBenchmark
    from followspot.jobs.evaluate import evaluate
    from followspot.jobs.trackers import TrackerSpec

    benchmark = SyntheticBenchmark(tmp_path, protocol="keypoints", clips=("clip-1000",))
    evaluate(benchmark, TrackerSpec(name="identity", method="identity"), tmp_path / "run", data=tmp_path, workers=1)
    write_report([tmp_path / "run"], tmp_path / "out", worst=1, sequences=1)
    (row,) = [row for row in rows_of(next((tmp_path / "out/tables").glob("pck-*.csv"))) if row["kind"] != "published"]
    scores = json.loads((tmp_path / "run/report.json").read_text())["scores"]
    pck = {name: value for name, value in scores.items() if name.startswith("PCK")}
    assert {name: float(row[name]) for name in pck} == pck
    assert list((tmp_path / "out/figures").glob("pck-*.png"))
    assert list((tmp_path / "out/pictures").glob("sheet-*truth.webp"))


def test_weights_that_are_not_known_are_asked_for(group):
    ours = next(run for run in group.runs if run.name != "identity")
    changed = type(ours)(
        folder=ours.folder, name="x", settings=ours.settings | {"tracker": {**ours.tracker, "weights": "0"}}, report=ours.report
    )
    with pytest.raises(Exception, match="--weights"):
        build_tracker_of(changed, WeightFiles([]))


def test_two_runs_of_one_name_are_told_apart(compared, tmp_path):
    import shutil

    shutil.copytree(compared / "identity", tmp_path / "again")
    runs = read_runs([compared / "identity", tmp_path / "again", tmp_path / "again"]).groups[0].runs
    assert sorted(run.name for run in runs) == ["identity (again) 1", "identity (again) 2", "identity (identity)"]


def test_errors_say_what_is_wrong(tmp_path, compared, trained, monkeypatch):
    with pytest.raises(DatasetError, match="is not a folder"):
        write_report([tmp_path / "gone"], tmp_path)
    with pytest.raises(DatasetError, match=r"neither report\.json nor metrics\.csv"):
        write_report([tmp_path], tmp_path / "out")
    with pytest.raises(SettingError, match="at least 1 run"):
        write_report([], tmp_path / "out")
    with pytest.raises(SettingError, match="1 failure"):
        write_report([compared], tmp_path / "out", worst=0)
    monkeypatch.setattr(report_page, "MOST_BYTES", 1000)
    with pytest.raises(OutputError, match="report fewer runs"):
        write_report([trained], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_f149_bars_by_attribute_are_means_over_the_sequences_that_have_it(compared, two_videos, tmp_path):
    import shutil

    data = tmp_path / "davis"
    shutil.copytree(two_videos, data)
    (data / "db_info.yaml").write_text(
        "sequences:\n- {name: plain, attributes: [OCC, AC]}\n- {name: 'b<i>&\"q\"', attributes: [OCC]}\n- {name: other, attributes: [SV]}\n"
    )
    write_report([compared], tmp_path / "out", data=data)
    found = {row["attribute"]: row for row in rows_of(next((tmp_path / "out/tables").glob("attributes-*.csv")))}
    assert list(found) == ["AC", "OCC"]
    assert [row["sequences"] for row in found.values()] == ["1", "2"]
    for run in read_runs([compared]).groups[0].runs:
        means = [values["J-Mean"] for values in run.report.sequences.values()]
        assert float(found["OCC"][run.name]) == pytest.approx(np.mean(means))
        assert float(found["AC"][run.name]) == pytest.approx(means[0])
    assert list((tmp_path / "out/figures").glob("attributes-*.png"))


def test_f153_colours_against_tracking_is_a_point_a_sequence_and_method(group):
    from followspot.benchmarks.report import Report, Row
    from followspot.jobs.report_colors import COLOURS, colours_against_tracking, correlation
    from followspot.jobs.report_runs import EvaluationRun, Group

    tracking = {run.name: run.report.sequences for run in group.runs}
    made = []
    for number, name in enumerate(tracking):
        rows = tuple(Row(sequence=each, frames=3, values={"accuracy": 0.1 * number + 0.2 * k}) for k, each in enumerate(tracking[name]))
        report = Report(benchmark=COLOURS, split="all", protocol="first-frame", note="", scores={"Accuracy": 0.5}, rows=rows)
        made.append(EvaluationRun(folder=group.runs[0].folder, name=name, settings={}, report=report))
    colours = Group(runs=tuple(made))
    graph = colours_against_tracking([group, colours], group)
    expected = [
        (name, sequence, pytest.approx(0.1 * number + 0.2 * k), values["J-Mean"])
        for number, name in enumerate(tracking)
        for k, (sequence, values) in enumerate(tracking[name].items())
    ]
    assert list(graph.table.rows) == expected
    x, y = (
        np.array([row[side] for row in expected], float) if side == 3 else np.array([row[2].expected for row in expected])
        for side in (2, 3)
    )
    slope = ((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std())
    assert f"{slope:.2f} (Pearson)" in graph.caption
    assert colours_against_tracking([group], group) is None
    assert colours_against_tracking([group, colours], colours) is None
    assert "too few" in correlation(np.ones(5), np.arange(5.0))


def test_f164_copied_colours_are_those_of_the_places_looked_at(group):
    from followspot.jobs.report_colors import copied_ab
    from followspot.ops.color import to_lab
    from followspot.ops.masks import area_resize
    from followspot.tracking.colors import gray_frame
    from followspot.viz.colorized import colorize

    one = seeing(group, WeightFiles([]))[0][0]
    frame = one.clip.frames[0]
    target = one.clip.frames[-1]
    ab = copied_ab(one.tracker, frame, target)
    query, key = (one.tracker.encode(gray_frame(each)).flatten(1).T.double() for each in (target, frame))
    colours = area_resize(to_lab(frame.image)[1:], (ab.shape[1], ab.shape[2])).flatten(1).T
    affinity = one.tracker.preset.affinity
    for cell in range(0, len(query), 7):
        scores = (key @ query[cell]) / (key.norm(dim=1) * query[cell].norm())
        best = scores.argsort(descending=True)[: affinity.top_k]
        weights = (scores[best] / affinity.temperature).softmax(0)
        expected = (weights[:, None] * colours[best]).sum(0)
        assert np.allclose(ab.flatten(1)[:, cell], expected, atol=0.05)
    painted = colorize(frame.image, ab)
    assert (to_lab(painted)[0] - to_lab(frame.image)[0]).abs().mean() < 1


def test_f164_panels_and_arrows_are_written(written):
    names = {path.name.split("-")[0] for path in (written / "pictures").iterdir()}
    assert {"colourised", "arrows"} <= names


def test_a_benchmark_is_opened_by_what_reports_call_it(two_videos, tmp_path):
    from followspot.benchmarks.registry import NAMES
    from followspot.jobs.report_runs import _class_of, _key_of

    assert _key_of("Colour prediction") == "colors"
    assert _key_of("DAVIS 2016") == "davis-2016"
    assert _key_of("VOT2019") == "vot2019"
    assert _key_of("nothing of ours") == "nothing of ours"
    for key, entry in NAMES.items():
        name = getattr(_class_of(entry), "name", None)
        assert not isinstance(name, str) or _class_of(NAMES[_key_of(name)]) is _class_of(entry), key


def test_small_results_are_enlarged_beside_their_frames():
    small, large = np.full((10, 20, 3), 200, np.uint8), np.full((40, 80, 3), 50, np.uint8)
    row = beside([small, large])
    assert row.shape == (44, 2 * 82 + 2, 3)
    assert (row[2:42, 2:82] == 200).all()
    assert (row[2:42, 84:164] == 50).all()
