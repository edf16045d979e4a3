"""``followspot report``: a folder in, one file out, errors in one line."""

import json


def test_f165_a_training_run_becomes_a_page(followspot, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text("step,seconds,loss\n10,1,2.5\n20,2,1.5\n")
    said = followspot("report", run, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert f"{tmp_path / 'out' / 'report.html'} (" in said.out
    assert (tmp_path / "out/figures/training.png").is_file()


def test_what_cannot_be_reported_is_said_in_one_line(followspot, tmp_path):
    assert followspot("report", tmp_path, "--out", tmp_path / "out").refuses(str(tmp_path), "evaluate, compare or train")
    assert followspot("report", "--out", tmp_path / "out").refuses("at least 1 run")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "report.json").write_text(json.dumps({"benchmark": "DAVIS 2017"}))
    assert followspot("report", broken, "--out", tmp_path / "out").refuses("report.json", "followspot score")
    assert followspot("report", broken, "--worst", "x").refuses("worst")
    assert not (tmp_path / "out").exists()
