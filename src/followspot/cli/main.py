"""The command line: one app, one file a command, nothing heavy imported before the options are understood."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from followspot.cli.allocator import keep_freed_memory
from followspot.cli.frames import bind_frames
from followspot.errors import FollowspotError

app = App(
    name="followspot",
    help="Point at something in one frame of a video and follow it through the whole video.",
    version=lambda: version("followspot"),
    suppress_keyboard_interrupt=False,
)
app.command("followspot.cli.demo:demo", name="demo", help="Make a short video, follow masks, a box and points through it, and score that.")
app.command("followspot.cli.track:track", name="track", help="Follow what you point at through a video.")
app.command("followspot.cli.recolor:recolor", name="recolor", help="Colour a grey video from frames of it that someone has coloured.")
app.command("followspot.cli.flow:flow", name="flow", help="Write the dense flow between two frames as a .flo file.")
app.command("followspot.cli.prepare:prepare", name="prepare", help="Make a store of small clips from any videos.")
app.command("followspot.cli.targets:targets", name="targets", help="Cut targets for an online tracker out of labelled images and video.")
app.command("followspot.cli.train:train", name="train", help="Train an encoder on unlabelled video.")
app.command("followspot.cli.adapt:adapt", name="adapt", help="Fine-tune the encoder on your own video, without labels.")
app.command("followspot.cli.report:report", name="report", help="One HTML file about results and training runs: tables, figures, pictures.")
app.command("followspot.cli.convert:convert", name="convert", help="Turn a checkpoint of others into weights that every command takes.")
download = App(name="download", help="Fetch video from lists, and benchmarks.")
download.command("followspot.cli.download:kinetics", name="kinetics", help="Clips of a Kinetics list, cut to their segments.")
download.command("followspot.cli.download:davis", name="davis", help="DAVIS 2017 at 480p, checked and unpacked.")
app.command(download)
app.command("followspot.cli.evaluate:evaluate", name="evaluate", help="Run a tracker on a benchmark and score it.")
app.command("followspot.cli.evaluate:score", name="score", help="Score a folder of results, whoever made them.")
app.command("followspot.cli.evaluate:compare", name="compare", help="Run several trackers on a benchmark and print one table.")
app.command("followspot.cli.tune:tune", name="tune", help="Search a tracker's settings on a benchmark.")
app.command("followspot.cli.tune:sweep", name="sweep", help="Score every checkpoint of a training run and keep the best.")
experiment = App(name="experiment", help="Questions about learning to track, each with a table and a figure.")
experiment.command("followspot.cli.experiment:same_colour", name="same-colour", help="How often are two objects of one colour confused?")
experiment.command("followspot.cli.experiment:colour_classes", name="colour-classes", help="Classes of colours, or colours themselves?")
experiment.command("followspot.cli.experiment:supervision", name="supervision", help="Supervised or self-supervised features?")
experiment.command("followspot.cli.suggestion:suggestion", name="suggestion", help="Is the suggested frame the one to annotate?")
app.command(experiment)
app.command(
    "followspot.cli.info:info",
    name="info",
    help="Which ways of computing this machine has (compiled C++, a GPU, plain torch), which are used, and why others are not.",
)
app.command("followspot.cli.trax:trax", name="trax", help="Let vot-toolkit or another TraX client drive a tracker.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 if all went well, 2 for anything the user can mend, 130 when interrupted.

    Args:
        arguments: default ``sys.argv[1:]``.
    """
    # Threads that wait should sleep: where other programs want the cores too, spinning made tracking 10 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Printed below: the parser would wrap its errors to the width of the terminal, and they must stay one line.
        app(bind_frames(tokens), exit_on_error=False, print_error=False)
    except (FollowspotError, CycloptsError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _one_line(error: FollowspotError | CycloptsError) -> str:
    return " ".join(str(error).split())
