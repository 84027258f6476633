"""Markdown and notebooks as HTML that needs no network: formulas become small pictures, made here by matplotlib.

nbconvert leaves formulas to MathJax, a script that a page loads from the internet. A page of the site is opened from disk.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

TEMPLATES = Path(__file__).parent / "templates"
SIZE = 10.0  # points that are one em, for formulas


def to_html(source: str) -> str:
    """Markdown as HTML; formulas between dollar signs become SVG pictures.

    Args:
        source: Markdown with tables, as notebooks and the pages of results have it.
    """
    text = MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(source)
    return re.sub(r'(?<=[^\s>])<svg class="math"', '&#8288;<svg class="math"', text)  # no line break between RUM and its F


def notebook_body(path: Path) -> str:
    """A notebook's cells and outputs as HTML; code is folded.

    Args:
        path: a notebook with its outputs.
    """
    loader = jinja2.FileSystemLoader(TEMPLATES)
    exporter = HTMLExporter(template_name="classic", template_file="notebook.html.j2", extra_loaders=[loader])
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.register_filter("site_markdown", to_html)
    body, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
    return body


class _Renderer(IPythonRenderer):
    """nbconvert's Markdown, with formulas as pictures and tables that can be scrolled on a narrow screen."""

    def inline_math(self, body: str) -> str:
        return formula(body)

    def block_math(self, body: str) -> str:
        return f'<p class="formula">{formula(body)}</p>'

    def table(self, text: str) -> str:
        return f'<div class="wide"><table>{text}</table></div>\n'

    def text(self, text: str) -> str:
        text = super().text(text).replace("RUM^F", "RUM<sup><i>F</i></sup>")
        return text.replace(" ± ", "\u00a0±\u00a0")  # a value and its interval stay on one line

    def image(self, text: str, url: str, title: str | None = None) -> str:
        picture = super().image(text, url, title)
        return picture.replace("<img ", '<img loading="lazy" ')


def formula(tex: str) -> str:
    """A formula as an SVG picture in the colour of the text, on its baseline; as code if matplotlib cannot set it.

    Args:
        tex: what stands between the dollar signs. matplotlib knows a part of LaTeX, without environments.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    source = f"${' '.join(tex.split())}$"
    try:
        width, height, depth, *_ = MathTextParser("path").parse(source, dpi=72, prop=FontProperties(size=SIZE))
        outline = TextPath((0, 0), source, size=SIZE)
    except ValueError:
        return f"<code>{html.escape(tex)}</code>"

    letters = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C", Outline.CLOSEPOLY: "Z"}
    steps = []
    for points, code in outline.iter_segments(simplify=False):
        numbers = [] if code == Outline.CLOSEPOLY else [f"{value:.2f}" for value in points]
        steps.append(letters[code] + " ".join(numbers))

    # y points up in an outline and down in SVG
    box = f"0 {-height:.2f} {width:.2f} {height + depth:.2f}"
    style = f"width:{width / SIZE:.2f}em;height:{(height + depth) / SIZE:.2f}em;vertical-align:{-depth / SIZE:.2f}em"
    return (
        f'<svg class="math" role="img" aria-label="{html.escape(tex)}" viewBox="{box}" style="{style}">'
        f'<path transform="scale(1,-1)" d="{"".join(steps)}"/></svg>'
    )


def page(**values: Any) -> str:
    """A whole page: `title`, `body`, and `root`, the way back to the folder of the site (such as `../`)."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html.j2").render(**values)


def title_of(source: str, otherwise: str) -> str:
    """The first heading of a Markdown text, without markup."""
    found = re.search(r"^#+ +(.+)$", source, re.MULTILINE)
    return re.sub(r"[*`$]", "", found[1]).strip() if found else otherwise
