"""The front door: quick, light, and helpful to whoever mistypes."""

import re
import resource
import subprocess
import sys

import pytest

import followspot
from followspot.cli import main as front


def cpu_seconds(*command):
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return used() - before


def test_help_is_there_in_half_a_second():
    """Time of the processor, the least of five: what else the machine does must not count."""
    assert min(cpu_seconds(sys.executable, "-m", "followspot", "--help") for _ in range(5)) < 0.5


HEAVY = "import sys; print(sorted({'torch', 'cv2', 'av', 'numpy', 'PIL', 'timm'} & {name.split('.')[0] for name in sys.modules}))"
RUN = """
import sys
from followspot.cli.main import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit:
        print(line, *({"torch", "cv2", "av", "timm", "lightning", "pyarrow", "yt_dlp"} & set(sys.modules)), sep="|", file=sys.stderr)
"""
LINES = ["--help", "--version", "track v.mp4 --mskk f.png"]
LINES += [f"{command} --help" for command in ("track", "demo", "evaluate", "score", "compare")]
LINES += [f"{command} --help" for command in ("prepare", "download kinetics", "train", "adapt", "convert")]


def test_torch_waits_until_the_options_are_understood(fresh_process):
    told = fresh_process(RUN, *LINES).stderr.splitlines()
    assert [line for line in told if not line.startswith("error:")] == LINES


def test_importing_the_package_imports_nothing_heavy(fresh_process):
    assert fresh_process("import followspot; " + HEAVY).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("trakc v.mp4", ['"trakc"', 'Did you mean "track"?']),
        ("evalaute davis", ['Did you mean "evaluate"?']),
        ("evaluate davs", ['unknown benchmark "davs"; did you mean "davis"?']),
        ("score daviss r", ['did you mean "davis"?']),
        ("track v.mp4 --maks f.png", ["--maks", "Did you mean --mask?"]),
        ("demo --fraims 3", ["Did you mean --frames?"]),
        ("evaluate davis-2018 --data d", ['unknown benchmark "davis-2018"']),
        ("score davis r --data d --protocol offical", ['did you mean "official"?']),
        ("evaluate davis", ["davis needs its data; add --data FOLDER"]),
        ("compare davis --trackers identity --data d", ["--out requires an argument"]),
        ("track", ["SOURCE requires an argument"]),
        ("demo --frames x", ["--frames", '"x"']),
        ("demo --frames 1", ["--frames 1 leaves nothing to follow"]),
        ("demo --seed -1", ["--seed -1 is below 0"]),
        ("demo --frames 9999999", ["num_frames 9999999 must be in 1..1000000"]),
        ("demo --seed 0 --frames 2 extra", ["extra"]),
        ("evaluate davis --data nowhere", ["nowhere"]),
        ("score davis nowhere --data nowhere", ["nowhere"]),
    ],
)
def test_f170_mistypes_are_one_line_with_the_nearest_right_thing(followspot, line, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")  # a narrow terminal does not break the line
    said = followspot(*line.split())
    assert said.code == 2
    assert said.out == ""
    assert len(said.complaints) == 1, said.err
    assert said.complaints[0].startswith("error: ")
    for part in parts:
        assert part in said.complaints[0]
    assert not list(tmp_path.iterdir())


def test_demo(followspot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ("demo", "--frames", "3", "--resolution", "64", "--device", "cpu")
    said = followspot(*command)
    assert said.code == 0, said.err
    assert not said.complaints
    assert "followed 3 frames at" in said.out
    assert re.search(r"score against the exact truth: J 0\.\d{3}  F 0\.\d{3}  box IoU 0\.\d{3}  points \d+\.\d px", said.out)
    assert "look at followspot-demo/overlay.mp4" in said.out
    assert {path.name for path in (tmp_path / "followspot-demo").iterdir()} == {
        "video.mp4",
        "overlay.mp4",
        "masks",
        "tracks.json",
        "tracks.csv",
    }
    again = followspot(*command)
    assert "followed" not in again.out
    assert "score against the exact truth" in again.out
    other = followspot(*command, "--seed", "7")
    assert other.code == 2
    assert "another demo" in other.complaints[0]


def test_square_brackets_are_not_markup(followspot):
    assert "[bold]v.mp4 does not exist" in followspot("track", "[bold]v.mp4", "--point", "1,2").err


def test_version(followspot):
    said = followspot("--version")
    assert said.code == 0
    assert said.out.strip() == followspot_version()


def followspot_version():
    return followspot.__version__


@pytest.mark.parametrize(
    ("line", "words"), [("--help", ["demo", "track", "evaluate", "score"]), ("", ["track"]), ("score --help", ["davis"])]
)
def test_help_lists_the_commands(followspot, line, words):
    said = followspot(*line.split())
    assert said.code == 0
    assert all(word in said.out for word in words)


def commands(group, path=()):
    for name in group:
        if not name.startswith("-"):
            yield (*path, name)
            yield from commands(group[name], (*path, name))


@pytest.mark.parametrize("path", list(commands(front.app)), ids=" ".join)
def test_f170_every_command_explains_itself(followspot, path):
    said = followspot(*path, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"Usage: followspot {' '.join(path)}" in said.out
    assert len(said.out.split()) > 20


def test_the_help_of_track_has_every_option(fresh_process, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    said = fresh_process(RUN, "track --help").stdout
    annotations = "mask box point keypoints labels colour at"
    run = "out overwrite no-both-ways no-confidence no-overlay encoder weights stride device preset"
    propagation = "context-frames top-k temperature radius radius-first window normalize joint renormalize keep-references recursion"
    for option in f"{annotations} {run} {propagation} resolution".split():
        assert re.search(rf"--{option}\b", said), option
    assert "Options" not in said.replace("[OPTIONS]", "")


def test_interrupted(followspot, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(front, "app", interrupt)
    said = followspot("track")
    assert said.code == 130
    assert said.err.strip() == "interrupted: run the same command again to go on"


def test_without_arguments_it_reads_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["followspot", "--version"])
    with pytest.raises(SystemExit, match=r"^0$"):
        front.main()
    assert capsys.readouterr().out.strip() == followspot.__version__
