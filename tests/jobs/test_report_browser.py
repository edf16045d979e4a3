"""F165 in a real browser without network: points are clicked, tables sorted, the keyboard is enough, nothing complains."""

import json
import shutil
from pathlib import Path

import pytest

from followspot.jobs.report import write_report

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage", "--no-first-run"]

ALPHA = """(canvas, [x, y]) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height), pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  return pen.getImageData(Math.round(x), Math.round(y), 1, 1).data[3] / 240;
}"""
"""How strongly a place is painted over; 1 is what the largest weight gets in the centre of its cell, which lies between pixels."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (group test)")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(compared, trained, tmp_path_factory):
    return write_report([compared, trained], tmp_path_factory.mktemp("browser")).page


@pytest.fixture
def opened(browser, report):
    """A page, and what it complained about or asked the network for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    complaints = []
    context.route("**/*", lambda route: route.continue_() if route.request.url.startswith(("file:", "data:")) else route.abort())
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector(".attention[data-chosen]")
    yield page
    assert complaints == []
    context.close()


def column(page, table, index):
    return page.locator(table).first.locator("tbody tr").evaluate_all(f"rows => rows.map(row => row.cells[{index}].dataset.value)")


def test_a_click_on_a_point_moves_the_peak_to_where_the_data_says(opened):
    box = opened.locator(".attention").first
    data = json.loads(box.locator("script").evaluate("script => script.textContent"))
    canvas = box.locator("canvas[tabindex]")
    canvas.scroll_into_view_if_needed()
    place = canvas.bounding_box()
    height, width = data["frame"]
    for chosen in (0, len(data["points"]) - 1):
        x, y = data["points"][chosen]
        canvas.click(position={"x": x / width * place["width"], "y": y / height * place["height"]})
        assert box.get_attribute("data-chosen") == str(chosen)
        told = opened.locator(".readout").first.inner_text()
        peak = ", ".join(str(round(value)) for value in data["peaks"][0][chosen])
        assert f"({peak})" in told
        assert box.locator("canvas:not([tabindex])").first.evaluate(ALPHA, data["peaks"][0][chosen]) > 0.75


def test_arrow_keys_choose_points_too(opened):
    box = opened.locator(".attention").first
    before = int(box.get_attribute("data-chosen"))
    box.locator("canvas[tabindex]").focus()
    across = json.loads(box.locator("script").evaluate("script => script.textContent"))["across"]
    opened.keyboard.press("ArrowRight")
    assert int(box.get_attribute("data-chosen")) == before + 1
    opened.keyboard.press("ArrowUp")
    assert int(box.get_attribute("data-chosen")) == before + 1 - across
    for _ in range(40):
        opened.keyboard.press("ArrowLeft")
    assert int(box.get_attribute("data-chosen")) % across == 0


def test_tables_sort_by_click_and_by_key_with_gaps_at_the_end(opened):
    table = "#results table"
    heads = opened.locator(f"{table} >> nth=0").locator("th")
    names = heads.all_inner_texts()
    scores = names.index("J-Mean")
    heads.nth(scores).locator("button").click()
    assert heads.nth(scores).get_attribute("aria-sort") == "descending"
    values = column(opened, table, scores)
    known = [float(value) for value in values if value]
    assert known == sorted(known, reverse=True)
    assert values == [value for value in values if value] + [value for value in values if not value]
    heads.nth(scores).locator("button").focus()
    opened.keyboard.press("Enter")
    assert heads.nth(scores).get_attribute("aria-sort") == "ascending"
    values = column(opened, table, scores)
    assert [float(value) for value in values if value] == sorted(known)
    assert not values or "" not in values[: len(known)]
    heads.nth(names.index("method")).locator("button").click()
    assert heads.nth(scores).get_attribute("aria-sort") is None
    assert column(opened, table, 1)[0].lower() <= column(opened, table, 1)[-1].lower()


def test_pictures_open_large_and_close(opened):
    button = opened.locator("#sheets button.zoom").first
    button.focus()
    opened.keyboard.press("Enter")
    dialog = opened.locator("dialog")
    assert dialog.is_visible()
    assert dialog.locator("img").get_attribute("src") == button.locator("img").get_attribute("src")
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_colours_follow_the_system_and_the_button(browser, report):
    grounds = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, offline=True)
        page = context.new_page()
        page.goto(report.as_uri())
        ground = lambda page=page: page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
        grounds[scheme] = ground()
        if scheme == "light":
            page.locator("#theme").click()
            assert ground() == grounds["light"]
            page.locator("#theme").click()
            assert page.locator("#theme").inner_text() == "Colours: dark"
            grounds["button"] = ground()
        context.close()
    assert grounds["light"] != grounds["dark"] == grounds["button"]


def test_every_picture_and_video_decodes(opened):
    opened.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    broken = opened.evaluate(
        """async () => {
          const bad = [];
          for (const image of document.querySelectorAll("main img")) {
            try { await image.decode(); } catch (error) { bad.push(image.alt); }
            if (!image.naturalWidth) bad.push(image.alt);
          }
          return bad;
        }"""
    )
    assert broken == []
    assert opened.locator("video").count() >= 1


def test_the_page_fits_a_telephone(browser, report):
    context = browser.new_context(viewport={"width": 390, "height": 800}, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 392
    context.close()


def test_moved_elsewhere_the_file_is_still_whole(browser, report, tmp_path):
    moved = Path(shutil.copy(report, tmp_path / "alone.html"))
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(moved.as_uri())
    page.wait_for_selector(".attention[data-chosen]")
    assert page.locator("main section").count() >= 10
    context.close()
