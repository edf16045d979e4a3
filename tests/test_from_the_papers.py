"""docs/from-the-papers.md names settings and files that exist, and leaves out no parameter of the systems that it maps."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest

from followspot.objectives.colorization import ColorizationSettings
from followspot.objectives.correspondence_flow import CorrespondenceFlowSettings
from followspot.objectives.cycle_time import CycleTimeSettings
from followspot.objectives.dense_contrast import DenseContrastSettings
from followspot.objectives.random_walk import RandomWalkSettings
from followspot.ops.schedule import Schedule
from followspot.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "from-the-papers.md"
OBJECTIVES = {
    "colorization": ColorizationSettings,
    "correspondence_flow": CorrespondenceFlowSettings,
    "cycle_time": CycleTimeSettings,
    "dense_contrast": DenseContrastSettings,
    "random_walk": RandomWalkSettings,
}


def words(text):
    return text.split()


# Every parameter of the first system's parameter list.
SEED_000 = words(
    """
    NUM_REF NUM_TARGET NUM_CLUSTERS KMEANS_STEPS_PER_ITERATION FEATURE_DIM LEARNING_RATE WEIGHT_DECAY BATCH_NORM_DECAY
    BATCH_RENORM_DECAY IMAGE_SIZE FEATURE_MAP_SIZE USE_CONV3D BATCH_RENORM_RMAX BATCH_RENORM_DMAX LOSS_WEIGHTING_SHARPNESS MODEL_DIR
    USE_HISTORY INITIAL_WEIGHT BATCH_SIZE TRAIN_INTERVAL HISTORY_CAPACITY MIN_HISTORY_SIZE HISTORY_DEVICE
    """
)
CORRFLOW = words("datapath csvpath savepath resume epochs lr bsize worker")
TIMECYCLE = words(
    """
    d j epochs lr momentum weight-decay c resume manualSeed e pretrained gpu-id predDistance seperate2d batchSize T gridSize classNum
    lamda pretrained_imagenet videoLen frame_gap hist optim topk_vis cropSize cropSize2 temporal_out save_path drop schedule gamma
    """
)
WBAEK = words(
    """
    o k n name log-filename debug path process gpus model-dir centroids num-reference d lr epoch num-process c checkpoint s
    """
)
SIAMMASK = words(
    """
    j epochs start-epoch b lr momentum weight-decay clip p resume pretrained config arch l s log-dir proposals mask refine dataset v
    save_mask gt video cpu debug result_dir tracker_prefix show_video_level num penalty-k window-influence search-region
    """
)
COMMANDS = words(
    """
    dataset.py clustering.py train.py test_with_davis.py tensorboard davis.py create_meta_graph.py download_and_preprocess_kinetics.py
    train_colorizer.py test_colorizer.py main.py main_oxuva.py test.py benchmark.py evaluation_method.py downscale_video_joblib.py
    extract_jpegs_256.py genvloglist.py gendavis_vallist.py train_video_cycle_simple.py test_davis.py run_test.sh convert_davis.py
    convert_model.ipynb
    """
)
BUGS = [*(f"1.7-B{n}" for n in range(1, 14)), *(f"3.7-B{n}" for n in range(1, 14)), *(f"5.7-B{n}" for n in range(1, 15))]


def section(title):
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title, header):
    """Cells of the table with this header in a section."""
    lines = section(title).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


PARAMETER_TABLES = ("Video colorization in TensorFlow", "Video colorization by wbaek", "CorrFlow", "TimeCycle", "Contrastive random walk")


def names(title):
    """Old names of a parameter table, apart where several stand in a cell."""
    return {name for row in rows(title, "old parameter") for name in re.split(r"[,:\s]+", row[0])}


def spans():
    for title in PARAMETER_TABLES:
        for row in rows(title, "old parameter"):
            for span in re.findall(r"`([^`]+)`", row[2]):
                yield pytest.param(span, id=f"{title}: {row[0]}: {span}")
    for span in re.findall(r"`([^`]+)`", section("SiamMask and S2iamMask")):
        if re.fullmatch(r"\w+\.\w+", span):
            yield pytest.param(span, id=f"SiamMask: {span}")


def fits(dotted):
    """Whether a dotted name is a setting of a recipe."""
    kind: object = Recipe
    way = dotted.split(".")
    while way:
        name = way.pop(0)
        if not (dataclasses.is_dataclass(kind) and name in get_type_hints(kind)):
            return False
        kind = get_type_hints(kind)[name]
        if get_origin(kind) in (Union, UnionType):
            kind = next(choice for choice in get_args(kind) if choice is not NoneType)
        if name == "objectives" and way:
            kind = OBJECTIVES.get(way.pop(0))
    return True


def test_names_that_are_not_settings_are_told_apart():
    assert fits("data.jitter.hue")
    assert fits("objectives.cycle_time.history")
    assert not fits("data.jitter.brigthness")
    assert not fits("objectives.cycle_time.clusters")
    assert not fits("objectives.cycle_tim.history")


@pytest.mark.parametrize("span", list(spans()))
def test_f098_what_stands_on_our_side_of_the_tables_exists(span):
    # That printed commands parse is checked for all pages together.
    assert span.startswith("followspot ") or fits(span)


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("Video colorization in TensorFlow", SEED_000),
        ("Video colorization by wbaek", WBAEK),
        ("CorrFlow", CORRFLOW),
        ("TimeCycle", TIMECYCLE),
    ],
)
def test_f098_every_old_parameter_has_its_row(title, wanted):
    assert sorted(set(wanted) - names(title)) == []


def test_f098_parameters_of_the_box_tracker_are_named():
    text = section("SiamMask and S2iamMask")
    assert [name for name in SIAMMASK if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)] == []


def test_every_row_says_where_to_go():
    for title in PARAMETER_TABLES:
        for old, _, here, _ in rows(title, "old parameter"):
            assert "`" in here or here == "none", old


@pytest.mark.parametrize("command", COMMANDS)
def test_f180_every_old_command_has_its_row(command):
    old = [row[0] for title in PARAMETER_TABLES for row in rows(title, "old command")]
    assert any(re.search(rf"(?<![\w.]){re.escape(command)}(?!\w)", cell) for cell in old)


def test_every_upstream_bug_is_answered_and_its_place_exists():
    table = list(rows("Upstream bugs that are not here", "bug there"))
    told = " ".join(row[0] for row in table)
    assert [bug for bug in BUGS if not re.search(rf"{re.escape(bug)}(?!\d)", told)] == []
    for _, _, where in table:
        for path in re.findall(r"`([^`]+)`", where):
            candidates = (path, f"cli/{path}.py", f"jobs/{path}.py", f"io/{path}.py")
            assert any((ROOT / "src" / "followspot" / candidate).exists() for candidate in candidates), path


def test_settings_of_schedules_are_texts_that_parse():
    for text in re.findall(r"`((?:linear|step|log|cosine) [^`]*)`", PAGE.read_text(encoding="utf-8")):
        assert Schedule.parse(text)


def test_hints_used_here_are_those_of_the_recipe():
    # `fits` takes the first kind of a union: the dataclass must come first.
    for hint in get_type_hints(Recipe).values():
        if get_origin(hint) in (Union, UnionType):
            first = get_args(hint)[0]
            assert first in (float,) or dataclasses.is_dataclass(first) or get_origin(first) in (Literal, Mapping)
