"""The folder of a run: whose it is, what is finished, and what survives a kill at any moment."""

import json
from pathlib import Path

import numpy as np
import pytest

from followspot.errors import OutputError
from followspot.io.export import write_tracks_json
from followspot.jobs.folder import RunFolder
from followspot.types import TrackedFrame


def frame(index):
    return TrackedFrame(index=index, name=f"{index:05d}", time_seconds=index / 10, masks=None, maps=None, objects=())


def some_state(seed):
    rng = np.random.default_rng(seed)

    def maps():
        return rng.random((3, 4, 5), np.float32)

    return {
        "channels": {"items": [{"role": "mask", "name": "cat"}], "image_size": [32, 40]},
        "frame": 17,
        "labels": maps(),
        "recent": [maps(), maps()],
        "references": {0: maps(), 9: maps()},
        "anchors": {9: maps()},
        "anchor_of": {"cat": 9},
    }


def finished(path, fingerprint):
    run = RunFolder(path, fingerprint=fingerprint, overwrite=False)
    (path / "masks").mkdir(exist_ok=True)
    (path / "masks" / "00000.png").write_bytes(b"mask")
    run.append(frame(0))
    write_tracks_json(path / "tracks.json", {"fingerprint": fingerprint}, run.frames())
    run.finish()


def test_a_checkpoint_gives_back_the_state_and_cuts_the_journal(tmp_path):
    run = RunFolder(tmp_path / "out", fingerprint="a", overwrite=False)
    for index in range(3):
        run.append(frame(index))
    state = some_state(0)
    run.save_checkpoint(done=3, state=state)
    run.append(frame(3))
    with run.journal.open("a") as journal:
        journal.write('{"frame": 4, "na')  # the disk was full in the middle of a line
    again = RunFolder(tmp_path / "out", fingerprint="a", overwrite=False)
    done, read = again.load_checkpoint()
    assert done == 3
    assert [f.index for f in again.frames()] == [0, 1, 2]
    for name in ("channels", "frame", "anchor_of"):
        assert read[name] == state[name]
    np.testing.assert_array_equal(read["labels"], state["labels"])
    np.testing.assert_array_equal(read["recent"], state["recent"])
    for name in ("references", "anchors"):
        assert list(read[name]) == list(state[name])
        for index in state[name]:
            np.testing.assert_array_equal(read[name][index], state[name][index])


def test_without_a_checkpoint_it_begins_again(tmp_path):
    run = RunFolder(tmp_path, fingerprint="a", overwrite=False)
    run.append(frame(0))
    again = RunFolder(tmp_path, fingerprint="a", overwrite=False)
    assert again.load_checkpoint() == (0, None)
    assert list(again.frames()) == []


def test_a_checkpoint_before_the_first_annotation_has_no_state(tmp_path):
    run = RunFolder(tmp_path, fingerprint="a", overwrite=False)
    run.append(frame(0))
    run.save_checkpoint(done=1, state=None)
    assert run.load_checkpoint() == (1, None)


def test_another_run_is_refused_unless_overwritten(tmp_path):
    run = RunFolder(tmp_path, fingerprint="a", overwrite=False)
    run.append(frame(0))
    with pytest.raises(OutputError, match="unfinished run with other settings; choose another --out, or add --overwrite"):
        RunFolder(tmp_path, fingerprint="b", overwrite=False)
    RunFolder(tmp_path, fingerprint="b", overwrite=True)
    assert json.loads((tmp_path / ".followspot/run.json").read_text()) == {"fingerprint": "b"}
    assert not run.journal.exists()


def test_results_of_nobody_known_are_refused(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.png").write_bytes(b"x")
    with pytest.raises(OutputError, match=r"results of another run \(masks\)"):
        RunFolder(tmp_path, fingerprint="a", overwrite=False)
    assert (tmp_path / "masks" / "mine.png").exists()


def test_other_files_are_nobodys_business(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder(tmp_path, fingerprint="a", overwrite=True).finish()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_finished_run_is_complete_and_another_one_is_refused(tmp_path):
    finished(tmp_path, "a")
    assert RunFolder(tmp_path, fingerprint="a", overwrite=False).complete
    with pytest.raises(OutputError, match="results of another run"):
        RunFolder(tmp_path, fingerprint="b", overwrite=False)
    again = RunFolder(tmp_path, fingerprint="a", overwrite=True)
    assert not again.complete
    assert not (tmp_path / "masks").exists()


def test_overwrite_goes_on_with_its_own_unfinished_run(tmp_path):
    """Errors say "run the same command again, it goes on", which holds for a command with --overwrite too."""
    run = RunFolder(tmp_path, fingerprint="a", overwrite=True)
    run.append(frame(0))
    run.save_checkpoint(done=1, state=None)
    assert RunFolder(tmp_path, fingerprint="a", overwrite=True).load_checkpoint() == (1, None)


def test_killed_while_tidying_up(tmp_path):
    finished(tmp_path, "a")
    (tmp_path / ".followspot").mkdir()
    (tmp_path / ".followspot" / "checkpoint.npz").write_bytes(b"left over")
    assert RunFolder(tmp_path, fingerprint="a", overwrite=False).complete
    assert not (tmp_path / ".followspot").exists()


def test_killed_before_anything_was_known(tmp_path):
    (tmp_path / ".followspot").mkdir()
    assert RunFolder(tmp_path, fingerprint="a", overwrite=False).load_checkpoint() == (0, None)


def test_killed_while_overwriting_is_not_taken_for_finished(tmp_path, monkeypatch):
    finished(tmp_path, "a")

    class KilledError(Exception):
        pass

    def die(*_):
        raise KilledError

    monkeypatch.setattr("followspot.jobs.folder.shutil.rmtree", die)
    with pytest.raises(KilledError):
        RunFolder(tmp_path, fingerprint="a", overwrite=True)
    monkeypatch.undo()
    with pytest.raises(OutputError, match="results of another run"):
        RunFolder(tmp_path, fingerprint="a", overwrite=False)


def test_after_an_error_nothing_is_left_but_what_can_be_gone_on_from(tmp_path):
    run = RunFolder(tmp_path / "out", fingerprint="a", overwrite=False)
    run.leave()
    assert not (tmp_path / "out").exists()
    run = RunFolder(tmp_path / "out", fingerprint="a", overwrite=False)
    run.append(frame(0))
    run.leave()
    assert run.journal.exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    RunFolder(tmp_path / "own", fingerprint="a", overwrite=False).leave()
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["notes.txt"]


def test_an_unfinished_run_without_answers_does_not_stand_in_the_way(tmp_path):
    RunFolder(tmp_path, fingerprint="a", overwrite=False)
    RunFolder(tmp_path, fingerprint="b", overwrite=False)
    (tmp_path / ".followspot" / "backward.npy").write_bytes(b"hours of work")
    with pytest.raises(OutputError, match="unfinished"):
        RunFolder(tmp_path, fingerprint="c", overwrite=False)


def test_damaged_records_are_nobodys(tmp_path):
    (tmp_path / "tracks.json").write_text("[1, 2")
    with pytest.raises(OutputError, match=r"results of another run \(tracks.json\)"):
        RunFolder(tmp_path, fingerprint="a", overwrite=False)
    (tmp_path / "tracks.json").write_text("[1, 2]")
    with pytest.raises(OutputError, match="results of another run"):
        RunFolder(tmp_path, fingerprint="a", overwrite=False)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        RunFolder(tmp_path / "out", fingerprint="a", overwrite=False)
    if Path("/proc").is_dir():
        with pytest.raises(OutputError, match=r"/proc/nowhere/\.followspot cannot be made; choose another --out"):
            RunFolder(Path("/proc/nowhere"), fingerprint="a", overwrite=False)
    run = RunFolder(tmp_path / "run", fingerprint="a", overwrite=False)
    run.journal.mkdir()
    with pytest.raises(OutputError, match="a folder stands where the file should go"):
        run.append(frame(0))
