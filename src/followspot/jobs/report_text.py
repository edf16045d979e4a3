"""Tables of a report as files: CSV with all digits, Markdown for a README, LaTeX for a paper."""

import csv
import io

from followspot.jobs.report_page import Cell, Table

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def to_csv(table: Table) -> str:
    r"""Comma-separated, numbers in full precision, empty where there is none.

    >>> to_csv(Table(columns=("method", "J"), rows=(("a,b", 0.25), ("c", None))))
    'method,J\n"a,b",0.25\nc,\n'
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if value is None or value != value else value for value in row] for row in table.rows])
    return out.getvalue()


def to_markdown(table: Table) -> str:
    r"""A table of GitHub's Markdown.

    >>> print(to_markdown(Table(columns=("method", "J"), rows=(("a|b", 0.25), ("c", None)))), end="")
    | method | J |
    |---|---:|
    | a\|b | 0.250 |
    | c | – |
    """
    numeric = [table.is_numeric(column) for column in range(len(table.columns))]
    lines = [list(table.columns), ["---:" if number else "---" for number in numeric]]
    lines += [[_plain(value, table.decimals).replace("|", "\\|") for value in row] for row in table.rows]
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    rows[1] = f"|{'|'.join(lines[1])}|"
    return "\n".join(rows) + "\n"


def to_latex(table: Table) -> str:
    r"""A ``tabular`` with the rules of ``booktabs``.

    >>> print(to_latex(Table(columns=("method", "J"), rows=(("50_%", 0.25),))), end="")
    % needs \usepackage{booktabs}
    \begin{tabular}{lr}
    \toprule
    method & J \\
    \midrule
    50\_\% & 0.250 \\
    \bottomrule
    \end{tabular}
    """
    columns = "".join("r" if table.is_numeric(column) else "l" for column in range(len(table.columns)))
    rows = [" & ".join(_escaped(_plain(value, table.decimals)) for value in row) + r" \\" for row in table.rows]
    head = " & ".join(map(_escaped, table.columns)) + r" \\"
    lines = [r"% needs \usepackage{booktabs}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _plain(value: Cell, decimals: int) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text).replace("–", "--")
