"""A report as one self-contained HTML page, and as JSON."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.your_model.outcome import number

if TYPE_CHECKING:
    from torch import nn

    from mulnb.your_model.report import Report

COLOURS = {"green": ("#e3f1e5", "#1b5e28"), "orange": ("#fdeed6", "#8a4b00"), "red": ("#fbe3e1", "#9b1c12")}  # ground, ink
ONE_MODEL = "The attack looks at the probability of the label only; stronger attacks (LiRA, RMIA) need reference models."
REFERENCES = (
    "LiRA and RMIA were used offline, with {} reference models; more models, or models trained alike, make them stronger."
)
LIMITS = (
    "One training run was measured; another seed gives other numbers.",
    ONE_MODEL,
    "Accuracies and attacks show what a model does on these images. They prove nothing about its weights, its gradients, or "
    "copies of the data elsewhere (backups, derived data, other models).",
    "Without an oracle, a forget set that is harder than the hold-out cannot be told from one that is forgotten too much.",
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin-top: 2rem }
.verdict { border-radius: .5rem; padding: .8rem 1.2rem } .verdict strong { font-size: 1.25rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd }
td { text-align: right } th { text-align: left; font-weight: 500 } thead th { text-align: right } img { max-width: 100% }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem } dt { color: #666 }
dd { margin: 0; overflow-wrap: anywhere }
"""


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of a module's state dict: names, types, shapes and values; of what is no tensor, what it is printed as."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, torch.Tensor):  # what a module's get_extra_state adds
            found.update(f"{name} {value!r}\n".encode())
            continue
        value = value.detach().cpu().contiguous()  # numpy has no bfloat16: hash the bytes
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def versions() -> dict[str, str]:
    """What the numbers depend on beside the data: versions of the packages, and the machine."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in ("mulnb", "torch", "torchvision", "numpy", "scikit-learn"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def contents(report: Report) -> dict[str, Any]:
    """The report as plain data, which JSON can hold: infinite epochs become null, as do numbers that are unknown."""
    from mulnb.your_model.adapt import plain

    factory = report._given.get("factory")
    hashes = {name: weights_hash(plain(model, factory)) for name, model in report._models.items()}
    verdict = {
        "words": report.verdict.words,
        "colour": report.verdict.colour,
        "reasons": list(report.verdict.reasons),
        "advice": report.verdict.advice,
    }
    made = {name: value for name, value in report.about.items() if name != "data"}
    count = report.about["reference_models"]

    return {
        "format": "mulnb report 1",
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": verdict,
        "rows": json_ready(report.rows),
        "forget_set": json_ready(report.sizes),
        "how": json_ready(made | {"seed": report._given["seed"]}),
        "hashes": {"data": report.about["data"], **hashes},
        "versions": versions(),
        "limits": [REFERENCES.format(count) if count and limit == ONE_MODEL else limit for limit in LIMITS],
    }


def json_ready(value: Any) -> Any:
    """Numbers, lists and mappings as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(inner) for inner in value]
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None

    return str(value)


def write(report: Report, path: str | Path) -> Path:
    """Write page and JSON. Returns the page's path. Raises `UserError` for a path that is no .html file."""
    path = paths.given(path, "the report")
    if path.suffix.lower() not in {".html", ".htm"}:
        raise UserError(f"report.save({path}): the page's name must end in .html")

    tree = contents(report)
    paths.write_text(path, page(report, tree))
    paths.write_text(path.with_suffix(".json"), json.dumps(tree, indent=2, allow_nan=False) + "\n")

    return path


def page(report: Report, tree: Mapping[str, Any]) -> str:
    """The page. It asks nothing of the network: the picture is inside."""
    ground, ink = COLOURS[tree["verdict"]["colour"]]
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in tree["verdict"]["reasons"])
    advice = f"<p>Try: {html.escape(tree['verdict']['advice'])}</p>" if tree["verdict"]["advice"] else ""
    limits = "".join(f"<li>{html.escape(limit)}</li>" for limit in tree["limits"])
    words, size = tree["verdict"]["words"], sum(tree["forget_set"].values())
    drawn = io.BytesIO()
    report.plot().savefig(drawn, format="png", dpi=150)
    picture = base64.b64encode(drawn.getvalue()).decode()

    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>mulnb: {html.escape(words)}</title>
<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>
<h1>Unlearning report: {size} examples</h1>
<div class="verdict" style="background: {ground}; color: {ink}"><strong>{html.escape(words.capitalize())}</strong>
<ul>{reasons}</ul>{advice}</div>
<h2>What was measured</h2>
{report.table().rename_axis(columns=None).to_html(border=0, na_rep="–", float_format=number)}
<p><img alt="accuracies and membership inference of every model" src="data:image/png;base64,{picture}"></p>
<h2>How it was made</h2>
{_list(tree["how"])}
<h2>Hashes (SHA-256)</h2>
{_list(tree["hashes"])}
<h2>Versions</h2>
{_list(tree["versions"])}
<h2>What this does not show</h2>
<ul>{limits}</ul>
<p>Written {tree["written"]}.</p>
</body></html>
"""


def _list(values: Mapping[str, Any]) -> str:
    lines = []
    for name, value in values.items():
        if value not in (None, [], {}) and (value or name != "reference_models"):
            text = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"<dt>{html.escape(name.replace('_', ' '))}</dt><dd>{html.escape(text)}</dd>")
    return f"<dl>{''.join(lines)}</dl>"
