"""The README's results are those of the committed tables, and the index of a profile shows what is there."""

from __future__ import annotations

import json
import re
import subprocess

import pandas as pd
import pytest
import synthetic

from mulnb import load_profile
from mulnb.config import Profile, known_profiles
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.results import claims, pages, pairs, tables
from mulnb.results.paper import PAIRS

COMMITTED = paths.CHECKOUT / "figures" / "digits"


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """The README and the results as they were committed together: a run since then has measured other seconds."""
    if not (paths.CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout: what was committed together cannot be known")
    archive = ["git", "archive", "HEAD", "README.md", "figures/digits", ":(glob)figures/*/*.csv"]
    content = subprocess.run(archive, cwd=paths.CHECKOUT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=content, check=True)
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path / "figures"))
    return tmp_path


def test_the_readme_says_what_the_tables_say(committed):
    text = (committed / "README.md").read_text()
    block = text.split(pages.BEGIN)[1].split(pages.END)[0].strip()
    assert block == pages.readme_results("digits"), "run: python -m mulnb.results.pages"
    confidence = pd.read_csv(committed / "figures/digits/table1_proxies.csv").set_index("proxy").spearman["confidence"]
    assert f"{confidence:.2f} [" in block


def test_the_readme_shows_the_papers_pairs_as_their_claims_do(committed):
    text = (committed / "README.md").read_text()
    block = text.split(pairs.BEGIN)[1].split(pairs.END)[0].strip()
    assert block == pairs.block(), "run: python -m mulnb.results.pages"

    committed = [pairs.shown(pair) for pair in PAIRS if pairs.shown(pair)]
    assert "cifar10-small" in committed and all(f"`{name}`" in block for name in committed)
    claims_of = pd.read_csv(COMMITTED.parent / "cifar10-small" / "claims.csv").set_index(["claim", "measured"])
    overall = claims_of.loc["refine-vanilla", "ToW, all algorithms"]
    assert f"{overall.estimate:.3f}".replace("-", "−") in block and overall.verdict in block


def test_what_the_readme_says_of_cifar10_small_stands_in_its_tables():
    text = (paths.CHECKOUT / "README.md").read_text()
    said = text.split("<!-- cifar10-small:begin -->")[1].split("<!-- cifar10-small:end -->")[0]
    numbers = re.findall(r"[−+]?\d\.\d{3} ± \d\.\d{3}", said)
    assert len(numbers) > 12

    pages_of = (COMMITTED.parent / "cifar10-small").glob("*.md")
    tabled = " ".join(page.read_text() for page in pages_of).replace("-0.", "−0.")
    assert [number for number in numbers if number not in tabled] == []


def test_every_picture_and_file_that_the_readme_names_is_there():
    text = (paths.CHECKOUT / "README.md").read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert len(links) > 8
    assert [link for link in links if not (paths.CHECKOUT / link).exists()] == []


def test_the_index_names_every_figure_and_table_of_the_folder():
    text = (COMMITTED / "README.md").read_text()
    for path in [*COMMITTED.glob("*.png"), *COMMITTED.glob("*.csv")]:
        assert path.name in text, path.name
    assert "demonstration" in text
    for claim in claims.examined(load_profile("digits")):
        assert claim.statement in text


@pytest.mark.parametrize("name", [name for name in known_profiles() if (COMMITTED.parent / name / "run.json").is_file()])
def test_committed_results_are_those_of_the_profile_as_it_is(name):
    record = json.loads((COMMITTED.parent / name / "run.json").read_text())
    # validated first: results from before a setting existed were made with its default
    assert Profile.model_validate(record["profile"]) == load_profile(name)
    assert record["stages"]


def test_real_images_in_small_show_that_confidence_ranks_as_memorization_does():
    costs = pd.read_csv(COMMITTED.parent / "cifar10-small" / "table1_proxies.csv").set_index("proxy")
    assert costs.spearman["confidence"] >= 0.75 and costs.n_seeds["confidence"] == 8


def test_the_full_rum_has_a_row_and_a_column_of_its_own():
    table = tables.tow_table(synthetic.unlearning(scores=("confidence",), rum=0.2))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in pages._tow_rows(table).splitlines()]
    assert rows[0] == ["", "vanilla", "repeat", "shuffle", "RUM^F", "RUM"]
    assert rows[2][0] == "Fine-tune" and "±" in rows[2][1] and rows[2][5] == ""
    assert rows[-1][:5] == ["RUM", "", "", "", ""] and "±" in rows[-1][5]
    assert re.search(r"not unlearned: 0.4\d / 0.4\d; a second oracle: 0.9\d / 0.9\d", pages._scale(table))


def test_a_damaged_table_of_a_pair_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    (tmp_path / "cifar10-small").mkdir()
    (tmp_path / "cifar10-small" / "claims.csv").write_text("another,table\n1,2\n")
    with pytest.raises(UserError, match=r"claims\.csv: no column 'claim'"):
        pairs.block()


def test_a_readme_without_markers_is_refused(committed, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# nothing to replace")
    with pytest.raises(UserError, match="results:begin"):
        pages.update_readme("digits", readme)
    readme.write_text(f"# a\n{pairs.BEGIN}{pairs.END}\n{pages.BEGIN}\nold\n{pages.END}\nrest")
    pages.update_readme("digits", readme)
    text = readme.read_text()
    assert text.startswith(f"# a\n{pairs.BEGIN}\n|") and f"{pages.BEGIN}\nProxies" in text
    assert text.endswith(f"{pages.END}\nrest")
    assert load_profile("digits").title in (COMMITTED / "README.md").read_text()
