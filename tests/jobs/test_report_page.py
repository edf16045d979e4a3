"""F165: the page is one file that needs no other, and says things as they are called."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from followspot.jobs.report import write_report
from followspot.jobs.report_page import MOST_BYTES, Section, Table, data_uri, json_block, missing, page, paragraph, photo, slug, table
from followspot.jobs.report_text import to_csv, to_latex, to_markdown

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Everything that refers to something, everything with an id, and the words."""

    def __init__(self, html):
        super().__init__()
        self.links, self.ids, self.words, self.tags, self.open = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.links += [
            attributes[key] for key in ("href", "src", "srcset", "action", "poster", "data", "xlink:href") if attributes.get(key)
        ]
        self.ids += [attributes["id"]] if "id" in attributes else []
        assert not [key for key in attributes if key.startswith("on")], f"{tag} runs a script of its own"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def html(compared, trained, tmp_path_factory):
    made = write_report([compared, trained], tmp_path_factory.mktemp("page"))
    return made.page.read_text(encoding="utf-8")


def test_f165_nothing_is_loaded_from_elsewhere(html):
    links = Reader(html).links
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.findall(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html
    assert not re.findall(r"fetch\(|XMLHttpRequest|WebSocket|import\(", html)


def test_tags_are_closed_and_ids_are_unique_and_found(html):
    page = Reader(html)
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))


def test_names_are_shown_not_run(html):
    reader = Reader(html)
    assert "u" not in reader.tags
    assert "i" not in reader.tags
    words = "".join(reader.words)
    assert "<u>ours</u>" in words
    assert 'b<i>&"q"' in words


def test_the_page_is_small_enough_to_send(html):
    assert 100_000 < len(html.encode()) < MOST_BYTES


def test_every_section_is_there_with_its_figure(html):
    titles = re.findall(r'<section id="([a-z-]+)"', html)
    assert titles == [
        "results",
        "over-time",
        "sequences",
        "attributes",
        "failures",
        "sheets",
        "embeddings",
        "attention",
        "colours",
        "confidence",
        "training",
        "how",
    ]
    parts = dict(zip(titles, html.split("<section ")[1:], strict=True))
    for name in ("over-time", "training", "attention"):
        assert "<svg" in parts[name], name
    for name in ("failures", "sheets", "embeddings", "attention"):
        assert "data:image/webp" in parts[name], name
    assert "data:video/mp4" in parts["embeddings"]
    assert "<canvas" in parts["attention"]
    assert "confidence.csv" in parts["confidence"]


def test_embedded_data_cannot_end_its_block():
    block = json_block({"name": "</script><b>", "n": 1.5})
    assert block.count("<") == 2
    assert json.loads(re.search(">(.*)<", block)[1]) == {"name": "</script><b>", "n": 1.5}


def test_cells_sort_by_value_and_gaps_are_marked():
    content = Table(columns=("name", "x", "n"), rows=(("b<", 0.12345, 3), ("a", None, 2), ("c", float("nan"), 10)))
    markup = table(content, caption="t")
    assert 'data-value="0.12345" class="n">0.123<' in markup
    assert markup.count('data-value="" class="n">–<') == 2
    assert 'data-value="b&lt;">b&lt;<' in markup
    assert content.is_numeric(1)
    assert not content.is_numeric(0)


def test_text_forms_keep_numbers_and_escape_what_is_special():
    content = Table(columns=("method", "J"), rows=(("a_b & 50%", 1 / 3), ("x|y,z", None)))
    assert to_csv(content).splitlines()[1] == f"a_b & 50%,{1 / 3}"
    assert to_csv(content).splitlines()[2] == '"x|y,z",'
    assert r"x\|y,z" in to_markdown(content)
    assert r"a\_b \& 50\% & 0.333 \\" in to_latex(content)


def test_empty_columns_are_left_out():
    content = Table(columns=("a", "b", "c"), rows=((1, "", None), (2, "", 3)))
    assert content.without_empty_columns().columns == ("a", "c")


def test_pictures_are_made_smaller_not_larger():
    for width, expected in ((2000, 1280), (40, 40)):
        markup = photo(np.zeros((20, width, 3), np.uint8), "x")
        assert "data:image/webp" in markup
        import base64
        import io

        from PIL import Image

        data = re.search(r"base64,([^\"]+)", markup)[1]
        assert Image.open(io.BytesIO(base64.b64decode(data))).width == expected


def test_a_page_of_plain_sections_reads_top_to_bottom():
    sections = [Section(id="one", title="One & two", body=(paragraph("a < b"), missing("no file")))]
    html = page(sections, title="T <1>", lead="L", footer="F")
    assert "<title>T &lt;1&gt;</title>" in html
    assert "One &amp; two" in html
    assert "a &lt; b" in html
    assert data_uri(b"x", "text/plain") == "data:text/plain;base64,eA=="
    assert slug("A b/C") == "a-b-c"
