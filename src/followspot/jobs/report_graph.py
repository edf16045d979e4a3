"""A figure with the numbers behind it: on the page, as PNG, and as CSV."""

from dataclasses import dataclass

from followspot.jobs.report_page import Markup, Table, downloads, figure
from followspot.jobs.report_text import to_csv
from followspot.viz.figures import Drawing


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One figure."""

    stem: str
    """Names its files: letters, digits and dashes."""
    drawing: Drawing
    table: Table
    """All numbers that are drawn."""
    caption: str

    @property
    def markup(self) -> Markup:
        """The figure, and a link that saves its numbers."""
        return Markup(figure(self.drawing, self.caption) + downloads(self.tables))

    @property
    def tables(self) -> dict[str, bytes]:
        """The numbers by file name."""
        return {f"tables/{self.stem}.csv": to_csv(self.table).encode()}

    @property
    def files(self) -> dict[str, bytes]:
        """All files by name."""
        return {f"figures/{self.stem}.png": self.drawing.png} | self.tables
