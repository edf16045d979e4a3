"""What the pages print is true: commands parse, snippets run, tables equal the code."""

import contextlib
import importlib.util
import io
import json
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path

import cyclopts
import numpy as np
import pytest

import followspot
from followspot.benchmarks.davis_scoring import MEASURES, official_files
from followspot.benchmarks.report import Row
from followspot.cli.frames import bind_frames
from followspot.cli.main import app
from followspot.cli.options import PropagationOptions, build_preset
from followspot.io.annotations import read_annotation
from followspot.io.export import CSV_COLUMNS
from followspot.jobs.track import CHECKPOINT_EVERY
from followspot.tracking import confidence, suggestion
from followspot.tracking.presets import PRESETS, Resolution

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def text_of(name):
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands():
    """Every command line of ours that a page prints in a bash block, or between backticks with an option."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(text, "bash") for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`(followspot [^`]*--[^`]*)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
        for line in lines:
            found = re.search(r"(?:^|uv run (?:--extra \w+ )?|\.venv/bin/)(followspot .*)$", line.strip())
            if found and "..." not in found[1]:
                yield pytest.param(shlex.split(found[1])[1:], id=f"{page.name}: {found[1]}")


def parse(tokens):
    app.parse_args(bind_frames(tokens), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("tokens", list(commands()))
def test_printed_command_parses(tokens):
    parse(tokens)


def test_commands_are_found_and_wrong_ones_fail():
    assert len(list(commands())) > 30
    with pytest.raises(cyclopts.CycloptsError):
        parse(["track", "clip.mp4", "--msk", "first.png"])
    with pytest.raises(cyclopts.CycloptsError):
        parse(["evaluate"])


def options():
    return sorted({option for page in PAGES for option in re.findall(r"`(--[\w-]+)", page.read_text(encoding="utf-8"))})


FOREIGN = {"--group", "--extra", "--torch-backend"}  # of pip and uv
FOREIGN |= {"--videoLen", "--topk_vis", "--cropSize", "--save_path", "--save_mask", "--cpu", "--datapath", "--savepath"}
FOREIGN |= {"--T", "--hist", "--lamda"}  # of the systems that docs/from-the-papers.md maps


def leaves(commands, path=()):
    """Every command, those of groups too, as the words that are typed."""
    for name in commands:
        if not name.startswith("-"):
            inner = [word for word in commands[name] if not word.startswith("-")]
            yield from leaves(commands[name], (*path, name)) if inner else [[*path, name]]


@pytest.fixture(scope="module")
def known_options():
    found = list(leaves(app))
    assert ["download", "kinetics"] in found
    collections = [app.parse_commands(command)[1][-1].assemble_argument_collection() for command in found]
    return {name for collection in collections for argument in collection for name in argument.names}


@pytest.mark.parametrize("option", [option for option in options() if option not in FOREIGN])
def test_mentioned_option_exists(option, known_options):
    assert option in known_options


@pytest.fixture(scope="module")
def tables():
    """The script that writes tables into pages."""
    spec = importlib.util.spec_from_file_location("make_tables", DOCS / "assets" / "make_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_of_benchmarks_is_that_of_the_code(tables):
    page = text_of("benchmarks.md")
    assert page == tables.filled_benchmarks(page), "run: python docs/assets/make_tables.py"
    assert page.count("\n| `davis-2016` |") == 1


def test_table_of_presets_is_that_of_the_code(tables):
    page = text_of("presets.md")
    assert page == tables.filled(page), "run: python docs/assets/make_tables.py"
    assert page.count("\n| `default` |") == 1
    changed = replace(PRESETS["default"], context_frames=77)
    assert tables.row(changed) not in page


def test_every_propagation_option_is_explained_and_presets_can_be_written_out():
    page = text_of("presets.md")
    for option in fields(PropagationOptions):
        if option.name != "preset":
            assert f"\n| `--{option.name.replace('_', '-')}` |" in page
    # The last line of the table of upstream parameters says which preset the options before it amount to.
    spelt = PropagationOptions(
        preset="default", context_frames=20, radius=12, window="circle", radius_first="all", top_k=10, temperature=0.05
    )
    assert replace(build_preset(spelt), name="", source="") == replace(PRESETS["crw"], name="", source="")
    spelt = PropagationOptions(
        context_frames=1, keep_references=False, radius=6, radius_first=6, top_k="all", normalize=False, temperature=1, recursion="hard"
    )
    assert replace(build_preset(spelt), name="", source="", resolution=Resolution(mode="native")) == replace(
        PRESETS["corrflow"], name="", source=""
    )


def test_columns_of_the_tables_are_documented_in_order():
    section = text_of("outputs.md").partition("## tracks.csv")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == CSV_COLUMNS


def test_numbers_in_the_text_are_those_of_the_code():
    page = " ".join(text_of("confidence.md").split())
    assert f"confidence is below {confidence.LOST_BELOW:g}" in page
    assert f"at most {confidence.CELLS} cells" in page
    assert f"the {suggestion.REACH} frames to each side" in page
    assert f"exp(-d / {suggestion.HELP})" in page
    assert f"({100 * suggestion.NEARLY:g} %)" in page
    assert f"an overlap of {suggestion.SURE_ENOUGH:g} or more" in page
    assert f"At most {CHECKPOINT_EVERY} frames are computed again" in " ".join(text_of("outputs.md").split())


def test_csv_files_of_davis_are_named_and_shaped_as_documented():
    page = text_of("benchmarks.md")
    row = Row(sequence="bear", object="1", frames=3, values=dict.fromkeys(MEASURES, 0.5))
    for name, text in official_files([row], split="SPLIT", protocol="official").items():
        assert f"`{name}`: `{text.splitlines()[0]}`" in page
    assert ",".join(MEASURES) in page
    assert "`report.json`" in page


def test_json_examples_are_read(tmp_path):
    (tmp_path / "00000.jpg").touch()
    examples = blocks(text_of("annotations.md"), "json")
    assert len(examples) == 4
    kinds = []
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.json"
        path.write_text(example, encoding="utf-8")
        size = (480, 854) if "resolution" in json.loads(example) else (240, 320)
        found = read_annotation(path, size=size)
        kinds.append(sorted(type(entry).__name__ for entries in found.values() for entry in entries))
    assert kinds == [["Keypoints"], ["Keypoints", "Keypoints"], ["Boxes", "Masks"], ["Boxes"]]


def test_label_map_example_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks(text_of("annotations.md"), "python")
    exec(compile(snippet, "docs/annotations.md", "exec"), {})
    ((maps,),) = read_annotation(Path("maps.npy"), size=(240, 320)).values()
    assert maps.weights.max() == np.float32(0.8)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A scratch folder, and frames seen small so that the pages run in seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "default", replace(PRESETS["default"], resolution=Resolution(pixels=96)))


@pytest.mark.usefixtures("small")
def test_snippets_of_the_python_page_run():
    snippets = blocks(text_of("python.md"), "python")
    assert len(snippets) > 10
    printed = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(printed):
        for number, snippet in enumerate(snippets):
            exec(compile(snippet, f"docs/python.md, snippet {number}", "exec"), names)
    text = printed.getvalue()
    assert "(96, 128) uint8" in text
    assert {"stone", "spot", "box"} <= set(re.findall(r"'(\w+)'", text))
    assert "nothing.mp4 does not exist" in text
    assert "preliminary protocol" in text
    assert Path("out/clip/overlay.mp4").exists()


@pytest.mark.usefixtures("small")
def test_snippet_of_the_readme_runs():
    truth = followspot.SyntheticVideo(2, num_frames=3, height=64, width=96)
    with followspot.VideoWriter("clip.mp4", height=64, width=96, fps=24) as writer:
        for frame in truth:
            writer.write(frame.image)
    followspot.write_mask(Path("first.png"), truth.masks(0))
    (snippet,) = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(snippet, "README.md", "exec"), {})
    assert len(printed.getvalue().splitlines()) == 3 * len(truth.names)


def messages():
    return re.findall(r"^\| `([^|]+?)` \|", text_of("troubleshooting.md"), re.MULTILINE)


@pytest.mark.parametrize("message", messages())
def test_explained_error_is_one_that_the_code_raises(message):
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    parts = [part.strip() for part in re.split(r"\.\.\.|\bWxH\b|\bN\b|\bM\b|'resnet50'|h264|[,()]", message)]
    telling = [part for part in parts if len(part) >= 8]
    assert telling
    assert [part for part in telling if part not in source] == []


def test_public_names_are_in_the_reference():
    page = text_of("reference/index.md")
    assert [name for name in followspot.__all__ if f"`{name}`" not in page] == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert [page for page in sorted(DOCS.rglob("*.md")) if page.relative_to(DOCS).as_posix() not in navigation] == []
    assert re.findall(r"[\w/-]+\.md", navigation) == [name for name in re.findall(r"[\w/-]+\.md", navigation) if (DOCS / name).exists()]
