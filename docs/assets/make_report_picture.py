"""Makes the picture of docs/report.md: four trackers on drawn clips, reported and photographed in Chromium.

    python docs/assets/make_report_picture.py [--out docs/assets/report.png] [--chromium PATH] [--report FILE]

Takes a few minutes on one core; with --report only the photograph is taken, of a report that is there.
"""

import argparse
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from followspot.cli.main import app

TRACKERS = "identity,flow:dis,random=random:resnet18,descriptor=descriptor"
WIDTH, HEIGHT = 1240, 700
COLOURS = 160
"""Of the saved PNG, which stays small."""


def photograph(page_file: Path, chromium: str) -> Image.Image:
    """The course over time and a clicked point, one screen above the other."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
        page.goto(page_file.as_uri())
        page.wait_for_selector(".attention[data-chosen]")
        screens = []
        for part in ("over-time", "attention"):
            page.evaluate(f"document.getElementById('{part}').scrollIntoView()")
            page.wait_for_timeout(1500)
            screens.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        browser.close()
    picture = Image.new("RGB", (WIDTH, 2 * HEIGHT + 8), "#8b949e")
    for row, screen in enumerate(screens):
        picture.paste(screen, (0, row * (HEIGHT + 8)))
    return picture


def report(folder: Path) -> Path:
    """Runs the trackers and reports them."""
    runs, out = folder / "runs", folder / "report"
    for line in (
        ["compare", "synthetic", "--trackers", TRACKERS, "--resolution", "120", "--out", str(runs), "--workers", "1"],
        ["report", str(runs), "--out", str(out)],
    ):
        app(line, exit_on_error=False, result_action="return_value")
    return out / "report.html"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("report.png"))
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = options.report or report(Path(folder))
        photograph(page.resolve(), options.chromium).quantize(COLOURS).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
