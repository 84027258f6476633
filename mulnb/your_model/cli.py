"""`mulnb forget`: `mulnb.forget` for a checkpoint, from the command line.

    mulnb forget --model checkpoint.safetensors --factory my_project.models:build --data train/ --holdout unseen/ \\
        --request request.csv --out forgotten/

`mulnb.__main__` adds the arguments and calls `run`. Nothing here loads torch before `run`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulnb.core import commands, paths
from mulnb.core.errors import UserError, users_code
from mulnb.your_model import out_folder

if TYPE_CHECKING:
    from mulnb.your_model.forgetting import Forgotten

ABOUT = "Let a model of your own forget a request, and say whether it is forgotten."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `mulnb forget` takes to a parser."""
    parser.add_argument("--model", required=True, metavar="FILE", help="checkpoint: .safetensors, or .pt/.pth with a state dict")
    parser.add_argument("--factory", required=True, metavar="MODULE:FUNCTION", help="builds the network, without arguments")
    data = "a folder with one sub-folder per class, an .npz with images and labels, or MODULE:FUNCTION that returns a data set"
    parser.add_argument("--data", required=True, metavar="DATA", help=f"all training images: {data}")
    parser.add_argument("--holdout", required=True, metavar="DATA", help="images that the model was never trained on, likewise")
    parser.add_argument("--test", metavar="DATA", help="images to measure accuracy on (default: the hold-out)")
    parser.add_argument("--request", required=True, metavar="FILE", help="what to forget: .csv, .txt, .json(l), .parquet or .npy")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the model, the report and the trials")
    parser.add_argument("--mean", metavar="M[,M…]", help="mean that the model's inputs are normalised by, one per channel")
    parser.add_argument("--std", metavar="S[,S…]", help="standard deviation, likewise")
    parser.add_argument("--scores", metavar="FILE", help="scores of the training images, as mulnb.load_scores reads them")
    untrained = "builds an untrained network, for stand-ins, where its weights cannot be drawn anew"
    parser.add_argument("--fresh", metavar="MODULE:FUNCTION", help=untrained)
    parser.add_argument("--memorized", choices=("high", "low"), help="which end of these scores is memorized, if it is not known")
    copies = "exact copies of requested images that are not requested: refuse (the default), keep, or forget them, too"
    parser.add_argument("--duplicates", choices=("refuse", "keep", "forget"), default="refuse", help=copies)
    parser.add_argument(
        "--ledger", metavar="FILE", help="a mulnb.Requests file: earlier requests; this one is added unless the verdict is red"
    )
    parser.add_argument("--about", default="", metavar="TEXT", help="who asked, for the ledger")
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help="time for the search (default: 300)")
    parser.add_argument("--trials", type=int, metavar="N", help="settings to try, at most")
    parser.add_argument("--device", metavar="NAME", help="where to work: cpu, cuda, cuda:1, mps (default: the factory's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every draw (default: 0)")


def run(options: argparse.Namespace) -> int:
    """Do what the options say, and print the report.

    Returns:
        0 if the verdict is green, else 1: also where the hold-out alone speaks for it.

    Raises:
        UserError: something does not fit.
    """
    out = paths.given(options.out, "--out")
    book = None if options.ledger is None else paths.given(options.ledger, "the ledger")
    out_folder.check(out, "--out", book)
    before = out_folder.size(book)
    try:
        found = _forgotten(options, out)
    except KeyboardInterrupt as stop:
        return commands.interrupted(stop, f"interrupted; {out_folder.what_stays(out, book, before)}")

    print(found)
    print(f"written to {out}")

    return 0 if found.verdict.good else 1


def _forgotten(options: argparse.Namespace, out: Path) -> Forgotten:
    """The call of `mulnb.forget` that the options stand for."""
    from mulnb.your_model.forgetting import forget
    from mulnb.your_model.scores_file import load_scores

    fresh = None if options.fresh is None else _placed(named(options.fresh, "--fresh"), options.device)

    return forget(
        options.model,
        data_of(options.data, "--data"),
        options.request,
        holdout=data_of(options.holdout, "--holdout"),
        test=None if options.test is None else data_of(options.test, "--test"),
        budget=options.budget,
        trials=options.trials,
        scores=None if options.scores is None else load_scores(options.scores, memorized=options.memorized),
        seed=options.seed,
        normalize=_normalize(options.mean, options.std),
        factory=_placed(named(options.factory, "--factory"), options.device),
        fresh=fresh,
        duplicates=options.duplicates,
        ledger=options.ledger,
        about=options.about,
        out=out,
    )


def named(text: str, option: str) -> Callable[[], Any]:
    """The function that "package.module:function" names. Modules of the current folder are found, too."""
    module, _, function = text.partition(":")
    if not module or not function:
        raise UserError(f"{option} {text}: expected MODULE:FUNCTION, for example my_project.models:build")
    if "/" in module or module.startswith(".") or module.endswith(".py"):
        raise UserError(f"{option} {text}: expected the module's name, my_project.models for my_project/models.py")
    # the installed command does not look in the current folder, as `python -m` does
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())

    with users_code(f"{option} {text}: {module} cannot be imported"):
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"{option} {text}: {error}; the module must be installed, or lie in this folder") from None

    for name in function.split("."):
        found = getattr(found, name, None)

    if not callable(found):
        raise UserError(f"{option} {text}: {module} has no function '{function}'")

    return found


def data_of(text: str, option: str) -> Any:
    """What an option names as data: a folder, an .npz, or what a function returns."""
    path = paths.given(text, option)
    if os.path.isdir(path):
        return path
    if path.suffix.lower() == ".npz":
        if not os.path.isfile(path):
            raise UserError(f"{option} {path} does not exist")
        return path
    if ":" in text and not os.path.exists(path):
        return _returned(named(text, option), text, option)

    raise UserError(f"{option} {text}: expected a folder, an .npz with images and labels, or MODULE:FUNCTION")


def _returned(make: Callable[[], Any], text: str, option: str) -> Any:
    """The data set that a function of the user's returns."""
    with users_code(f"{option} {text}: the function failed"):
        found = make()

    if found is None:
        raise UserError(f"{option} {text}: the function returned None: it must return a data set, or (images, labels)")
    return found


def _normalize(mean: str | None, std: str | None) -> tuple[list[float], list[float]] | None:
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UserError("--mean and --std go together: give both")

    parts = []

    for text, option in ((mean, "--mean"), (std, "--std")):
        try:
            parts.append([float(part) for part in text.split(",")])
        except ValueError:
            raise UserError(f"{option} {text}: expected numbers, one per channel, with commas between them") from None

    return parts[0], parts[1]


def _placed(build: Callable[[], Any], device: str | None) -> Callable[[], Any]:
    """The factory, with its network on a device that is there."""
    if device is None:
        return build

    import torch

    present = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    present += ["mps"] if torch.backends.mps.is_available() else []
    wanted = "cuda:0" if device == "cuda" else device
    if wanted not in present:
        raise UserError(f"--device {device} is not there: this machine has {', '.join(present)}")

    return lambda: build().to(wanted)
