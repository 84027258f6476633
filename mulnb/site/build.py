"""Build one static folder that shows published results: `python -m mulnb.site`, behind `./run_all.sh --site`.

The site holds the notebooks with their outputs; for every profile with results, its page, its tables and its figures; and the
choosing half of the explorer. Links are relative and nothing is loaded from the network: open `index.html` from disk, or put
the folder on any web server.
"""

from __future__ import annotations

import argparse
import html
import json
import posixpath
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pygments.formatters import HtmlFormatter

import mulnb
from mulnb.core import commands, folders, paths
from mulnb.core.errors import UserError
from mulnb.site import choose, markdown

LEAD = "digits"  # the profile that the notebooks in git show, and that a set is chosen from
MISSING = "missing:"  # the address of a link whose target is not in the site, until the link is removed
LINK = re.compile(r'((?:href|src)=")([^"#:]+)(#[^"]*)?(")')  # relative links; addresses have a colon
OWN = {"index.html", "style.css", "choose.html", "choose.js", "choose_data.js"}  # files of the site that have no source
MADE_BY = "Made by mulnb"  # at the foot of every page
FOOTER = f"{MADE_BY} {mulnb.__version__} from published results."
NUMBERED = "[0-9][0-9]_*.ipynb"
INTRODUCTION = """
# Memorization-aware machine unlearning

A trained network can be asked to forget some of its training images. How well that works depends on how strongly the network
memorized each of them. These pages show an experiment that measures both, step by step. Start with the first notebook: it says
in five minutes what was done and what was found. Reading needs no installation; the [README](README.html) says how to run
everything yourself.
"""
CHOOSE = """
**[Choose a forget set yourself](choose.html)**: move the thresholds, and see which images a score calls memorized.
"""


@dataclass(frozen=True)
class Source:
    """A file that becomes a page: where it is, and its place in the site."""

    path: Path
    place: PurePosixPath

    @property
    def page(self) -> PurePosixPath:
        """The place of the page; a README is what a folder shows first."""
        name = "index.html" if self.place.stem == "README" and self.place.parent.name else f"{self.place.stem}.html"
        return self.place.with_name(name)


def main(argv: Sequence[str] | None = None) -> int:
    """Build the site that the options ask for.

    Args:
        argv: the words of the command line; those of this process if None.

    Returns:
        The exit code: 0 fine, 2 a user's mistake.
    """

    def command() -> None:
        options = parser().parse_args(argv)
        folder = build(options.out)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{size / 1e6:.1f} MB, open it from disk: {folder / 'index.html'}")

    return commands.exit_code(command)


def parser() -> argparse.ArgumentParser:
    """The options of `./run_all.sh --site`."""
    found = commands.Parser(prog="./run_all.sh --site", description=__doc__)
    found.add_argument("--out", type=commands.folder, metavar="FOLDER", help="where the site goes (default: artifacts/site)")
    return found


def build(out: Path | None = None) -> Path:
    """Build the site.

    Args:
        out: a folder that does not exist, is empty, or holds a site already; `artifacts/site` if None.

    Returns:
        The folder.

    Raises:
        UserError: there are no results, or the folder holds something else.
    """
    folder = paths.real(out or paths.artifacts() / "site")
    if folder.is_dir() and any(folder.iterdir()) and not _is_site(folder):
        raise UserError(f"--out {folder}: the folder is not empty and holds no site; name another one")

    notebooks = sorted((paths.CHECKOUT / "notebooks").glob(NUMBERED))
    sources = [Source(path, PurePosixPath("notebooks", path.name)) for path in notebooks] + _results()
    if not any(source.place.suffix == ".md" for source in sources):
        raise UserError(f"no results in {paths.figures()}: compute them with ./run_all.sh")
    readme = paths.CHECKOUT / "README.md"
    if readme.is_file():
        sources.append(Source(readme, PurePosixPath("README.md")))

    # Written beside its place and then renamed: a visitor sees the old site or the new one.
    return folders.write_folder(folder, lambda made: _write(made, sources), instead=True)


def _is_site(folder: Path) -> bool:
    """Whether an earlier call has written a folder, so that it may be replaced; it is not enough that it holds a style sheet."""
    try:
        return (folder / "style.css").is_file() and MADE_BY in (folder / "index.html").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _results() -> list[Source]:
    """The pages of every folder of results."""
    found: dict[PurePosixPath, Path] = {}
    for folder in reversed(paths.readable()):  # the user's own pages replace the committed ones
        for path in folder.glob("*/*.md"):
            found[PurePosixPath("figures", path.parent.name, path.name)] = path
    return [Source(found[place], place) for place in sorted(found)]


# --- writing -------------------------------------------------------------------------------------------------------------


def _write(folder: Path, sources: Sequence[Source]) -> None:
    """Write every page, and copy the files that pages link to."""
    pages = {source.place: source.page for source in sources}
    data = choose.data_script(LEAD)
    links = [("Notebooks", "index.html#notebooks"), ("Results", "index.html#results"), ("README", "README.html")]
    if data is not None:
        links.insert(1, ("Choose", "choose.html"))

    def write(place: PurePosixPath, title: str, body: str) -> None:
        here = place.parent
        body = _with_links(body, here, pages, folder)
        root = "../" * len(here.parts)
        whole = markdown.page(title=title, body=body, root=root, links=links, footer=FOOTER)

        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(whole, encoding="utf-8")

    for source in sources:
        if source.path.suffix == ".ipynb":
            text, body = _first_text(source.path), markdown.notebook_body(source.path)
        else:
            text = _text(source.path)
            body = markdown.to_html(text)
        write(source.page, markdown.title_of(text, source.place.stem), body)

    write(PurePosixPath("index.html"), "mulnb", _index(sources, with_choice=data is not None))
    if data is not None:
        (folder / "choose_data.js").write_text(data, encoding="utf-8")
        shutil.copyfile(markdown.TEMPLATES / "choose.js", folder / "choose.js")
        choice = (markdown.TEMPLATES / "choose.html").read_text(encoding="utf-8")
        write(PurePosixPath("choose.html"), "Choose a forget set", choice)

    styles = (markdown.TEMPLATES / "style.css").read_text(encoding="utf-8")
    (folder / "style.css").write_text(styles + _code_colours(), encoding="utf-8")


def _with_links(body: str, here: PurePosixPath, pages: dict[PurePosixPath, PurePosixPath], folder: Path) -> str:
    """A page with links within the site; of one that leads nowhere, only the text stays."""

    def placed(link: re.Match[str]) -> str:
        return link[1] + _target(link[2], here, pages, folder) + (link[3] or "") + link[4]

    body = LINK.sub(placed, body)
    body = re.sub(rf'<a href="{MISSING}[^>]*>(.*?)</a>', r"\1", body, flags=re.DOTALL)
    return re.sub(rf'<img[^>]*src="{MISSING}[^>]*>', "", body)


def _target(link: str, here: PurePosixPath, pages: dict[PurePosixPath, PurePosixPath], folder: Path) -> str:
    """What a relative link becomes: another page, a file that is copied into the site, or `MISSING`.

    Args:
        here: the folder of the page in the site, which is laid out as the checkout.
        pages: the page of every source, by place.
        folder: where the site is written.
    """
    place = PurePosixPath(posixpath.normpath(here / link))
    if place.parts[:1] == ("..",):  # outside the site
        return MISSING
    if place in pages:
        return "../" * len(here.parts) + pages[place].as_posix()
    if place in pages.values() or place.as_posix() in OWN:
        return link

    if place.parts[0] != "figures":
        return MISSING  # source code and the like: the site shows results

    # results may lie elsewhere than the checkout; pictures of the explorer are always in the checkout
    originals = [*(folder.joinpath(*place.parts[1:]) for folder in paths.readable()), paths.CHECKOUT / place]
    original = next((path for path in originals if path.is_file()), None)
    if original is None:
        return MISSING

    copy = folder / place
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, copy)
    return link


# --- the first page ------------------------------------------------------------------------------------------------------


def _index(sources: Sequence[Source], with_choice: bool) -> str:
    """The introduction, the notebooks, and a gallery of every profile's figures."""
    introduction = INTRODUCTION + (CHOOSE if with_choice else "")
    parts = [markdown.to_html(introduction), '<h2 id="notebooks">Notebooks</h2><ol class="notebooks" start="0">']
    for source in sources:
        if source.path.suffix == ".ipynb":
            parts.append(_entry(source))
    parts.append("</ol>")

    parts.append('<h2 id="results">Results</h2>')
    indices = [source for source in sources if source.place.name == "README.md" and source.place.parts[0] == "figures"]
    for source in sorted(indices, key=lambda source: source.place.parent.name != LEAD):
        parts.append(_gallery(source))
    return "\n".join(parts)


def _entry(source: Source) -> str:
    """A notebook's title, with the first sentence below it."""
    text = _first_text(source.path)
    title = markdown.title_of(text, source.place.stem)
    title = re.sub(r"^\d\d\s*·\s*", "", title)  # the list counts by itself
    below = text.partition("\n")[2].strip()
    sentence = re.split(r"(?<=[.?!])\s", below, maxsplit=1)[0]
    return f'<li><a href="{source.page}">{html.escape(title)}</a><br>{markdown.to_html(sentence)}</li>'


def _first_text(path: Path) -> str:
    """The first Markdown cell of a notebook."""
    try:
        cells = json.loads(_text(path))["cells"]
        return next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), "")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error!r}): restore it from git") from None


def _text(path: Path) -> str:
    """The text of a page. Raises `UserError` if it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except ValueError:
        raise UserError(f"{path}: damaged (no text in UTF-8): remove it and write it again with mulnb run") from None


def _gallery(source: Source) -> str:
    """The figures of a profile's page, small, each with the sentence above it there."""
    text = _text(source.path)
    title = html.escape(markdown.title_of(text, source.place.parent.name))
    parts = [f'<h3><a href="{source.page}">{title}</a></h3><div class="gallery">']

    caption = ""
    for block in text.split("\n\n"):
        picture = re.fullmatch(r"!\[[^\]]*\]\(([^)]+\.png)\)", block.strip())
        if picture is None:
            caption = block
            continue
        where = source.place.parent / picture[1]
        words = markdown.to_html(caption)
        alt = html.escape(re.sub(r"[*`$]", "", caption), quote=True)
        image = f'<a href="{where}"><img loading="lazy" src="{where}" alt="{alt}"></a>'
        parts.append(f"<figure>{image}<figcaption>{words}</figcaption></figure>")

    parts.append("</div>")
    return "\n".join(parts)


def _code_colours() -> str:
    """Colours of highlighted code, for both themes."""
    plain = ".highlight { background: none; }"
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return "\n".join(["", light, plain, "@media (prefers-color-scheme: dark) {", dark, plain, "}", ""])
