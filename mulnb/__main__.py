"""The command line: `mulnb profiles | show | run | pack | unpack | claims | forget | bench`.

Each command imports what it needs when it runs, so that `mulnb --help` and a mistyped option answer at once, and that Ctrl-C is
one line from the beginning. Exit codes and the form of errors: `mulnb.core.commands`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mulnb
from mulnb.core import commands, instructions, paths, progress, workers
from mulnb.core.errors import UserError

STAGES = ("memorization", "proxies", "unlearning", "sequential", "audits", "mistakes", "tune", "all")
LONG_S = 24 * 3600  # from here on, `show` points to a GPU and to a reduced profile


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words of the command line; those of this process if None.

    Returns:
        The exit code: 0 fine, 2 a user's mistake, 130 interrupted, 1 anything else.
    """

    instructions.fix()

    def command() -> int | None:
        options = _parser().parse_args(argv)
        return options.command(options)

    return commands.exit_code(command)


def _parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    from mulnb.your_model import cli

    parser = commands.Parser(prog="mulnb", description="Reproducible, fast, memorization-aware machine unlearning.")
    parser.add_argument("--version", action="version", version=f"mulnb {mulnb.__version__}")
    group = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=commands.Command)

    def add(name: str, run: Callable[[argparse.Namespace], int | None], about: str) -> argparse.ArgumentParser:
        command = group.add_parser(name, help=about, description=about)
        command.set_defaults(command=run)
        return command

    add("profiles", _profiles, "List the profiles that ship with the package.")

    show = add("show", _show, "Print a resolved profile, what it will train, and how long that takes on this machine.")
    commands.add_profile(show, by_place=True)

    run = add("run", _run, "Compute a profile's results; write tables and tidy frames.")
    commands.add_profile(run, by_place=True)
    commands.add_workers(run)
    run.add_argument("--stage", choices=STAGES, default="all", help="one stage (default: all of them except mistakes and tune)")
    run.add_argument("--publish", action="store_true", help="write to the committed figures/ instead of results/")
    slice_ = "work for so long at most (90s, 9m, 1h30m), the most valuable first, and write no tables; the next slice goes on"
    run.add_argument("--slice", metavar="TIME", help=slice_)
    run.add_argument("--pack", type=commands.folder, metavar="FOLDER", help="pack the results afterwards, as mulnb pack does")

    pack = add("pack", _pack, "Write what the figures of a profile need, without weights, into files of at most 14 MB.")
    pack.add_argument("folder", type=commands.folder, metavar="FOLDER", help="what its packs already have is not packed again")
    commands.add_profile(pack)

    unpack = add("unpack", _unpack, "Put packed results into the store of this machine.")
    unpack.add_argument("folder", type=commands.folder, metavar="FOLDER", help="where the packs lie")

    claims = add("claims", _claims, "Compare the paper's claims with a profile's results.")
    commands.add_profile(claims, by_place=True)
    claims.add_argument("--other-machine", action="store_true", help="also record the primary verdicts as another machine's")

    forget = add("forget", cli.run, cli.ABOUT)
    cli.add_arguments(forget)

    bench = add("bench", _bench, "Measure the speed on this machine beside the usual way; write results/bench/.")
    bench.add_argument("--quick", action="store_true", help="a short run that tests the bench and says nothing about speed")

    return parser


def _load(options: argparse.Namespace) -> mulnb.config.Profile:
    return mulnb.config.load_profile(options.profile, dict(map(mulnb.config.parse_override, options.set)))


def _profiles(options: argparse.Namespace) -> None:
    """`mulnb profiles`"""
    for name in mulnb.config.known_profiles():
        print(f"{name:20} {mulnb.config.load_profile(name).title}")


def _show(options: argparse.Namespace) -> None:
    """`mulnb show NAME`: the profile as YAML, the estimate below it as YAML comments."""
    import yaml

    from mulnb import study
    from mulnb.study import cost

    profile = _load(options)
    study.check(profile)
    cost.check(profile)
    layout = {"sort_keys": False, "default_flow_style": None, "width": 120, "allow_unicode": True}
    print(yaml.safe_dump(profile.model_dump(mode="json"), **layout), flush=True)  # the estimate below takes some seconds

    items = cost.estimate(profile)
    advice = _advice(profile, sum(item.seconds for item in items))
    for line in [*cost.report(items).splitlines(), *advice]:
        print(f"# {line}")


def _advice(profile: mulnb.config.Profile, seconds: float) -> list[str]:
    """What to do about a profile that would take days on this machine's processor."""
    import torch

    if seconds / workers.count() < LONG_S or torch.cuda.is_available():
        return []

    reduced = [name for name in mulnb.config.known_profiles() if name.startswith(f"{profile.name}-")]
    lines = ["This machine has no GPU that torch can use. Run this profile on a machine with one: the same command uses it."]
    for name in reduced:
        lines.append(f"To see the same figures on this machine, run the reduced profile: mulnb run --profile {name}")
    return lines


def _run(options: argparse.Namespace) -> None:
    """`mulnb run`: one stage after the other, with its progress."""
    started = time.monotonic()
    from mulnb import study
    from mulnb.results import publish

    if options.slice is not None:
        return _slice(options, started)

    profile = _load(options)
    study.check(profile)
    commands.use_workers(options.workers, options.backend, options.address)
    study.splits(profile)  # reads the data: a profile that does not fit them is rejected before the first stage
    if options.publish:
        commands.use_committed()
    stages = [options.stage]
    if options.stage == "all":
        stages = [name for name in publish.STAGES if name not in publish.ON_REQUEST]

    with _progress_file() as state:
        for number, stage in enumerate(stages, start=1):
            with progress.shown(f"[{number}/{len(stages)}] {stage}", state):
                publish.publish(profile, stage)

    print(f"tables and frames: {paths.results(profile.name)}")
    if options.pack:
        _pack_into(profile, options.pack)


def _slice(options: argparse.Namespace, started: float) -> None:
    """`mulnb run --slice`: some minutes of a profile's work; one line says what was done and what is left."""
    from mulnb import study
    from mulnb.study import slices

    seconds = slices.seconds_of(options.slice)
    if options.stage != "all" or options.publish:
        raise UserError("--slice works through all stages and writes no tables: leave out --stage and --publish")
    profile = _load(options)
    commands.use_workers(options.workers, options.backend, options.address)

    with _progress_file() as state:
        outcome = slices.run(study.Study.of(profile), seconds, started=started, shown=lambda name: progress.shown(name, state))
    print(outcome if outcome.next else f"{outcome}: {_run_command(options)} writes the tables")
    if options.pack:
        _pack_into(profile, options.pack)


def _pack(options: argparse.Namespace) -> None:
    """`mulnb pack FOLDER`"""
    from mulnb import study
    from mulnb.study import slices

    profile = _load(options)
    if next(slices.stored(study.Study.of(profile)), None) is None:
        raise UserError(f"profile {profile.name} has no results that can be packed: compute them with {_run_command(options)}")
    _pack_into(profile, options.folder)


def _pack_into(profile: mulnb.config.Profile, folder: Path) -> None:
    """Pack a profile's results and say where they are."""
    from mulnb import study
    from mulnb.study import packing

    files = packing.pack(study.Study.of(profile), folder)
    size = sum(file.stat().st_size for file in files)
    new = f"{progress.counted(len(files), 'new file')}, {size / 1e6:.1f} MB" if files else "nothing new"
    print(f"packed into {folder}: {new}")


def _unpack(options: argparse.Namespace) -> None:
    """`mulnb unpack FOLDER`"""
    from mulnb.core import packs

    files = packs.files(options.folder)
    if not files:
        raise UserError(f"{options.folder}: no packs here: their names end in .facts.<checksum>.zip or .margins.<checksum>.zip")

    added: set[str] = set()  # a result may lie in several packs: its facts in one, its margins in another
    others: set[str] = set()
    for file in files:
        to, besides = packs.unpack(file)
        added |= to
        others |= besides
    note = f"; {len(others)} left out: another computation of them is stored here" if others else ""
    what = f"{progress.counted(len(files), 'file')}, {progress.counted(len(added), 'result')}"
    print(f"unpacked from {options.folder}: {what} added to {paths.artifacts()}{note}")


@contextlib.contextmanager
def _progress_file() -> Iterator[Path]:
    """The file in which `workers.run_all` tells how far it is; `MULNB_PROGRESS` if it is set, else a temporary one."""
    with paths.scratch() as scratch:
        given = os.environ.get("MULNB_PROGRESS")
        state = Path(given or scratch / "progress.json")
        os.environ["MULNB_PROGRESS"] = str(state) if given is None else given
        try:
            yield state
        finally:
            if given is None:
                del os.environ["MULNB_PROGRESS"]


def _claims(options: argparse.Namespace) -> None:
    """`mulnb claims`: what results show of the paper's claims; it computes nothing."""
    from mulnb.results import claims, here, publish

    profile = _load(options)
    if not any(any((folder / profile.name / "data").glob("*.parquet")) for folder in paths.readable()):
        raise UserError(f"profile {profile.name} has no results yet: compute them with {_run_command(options)}")

    verdicts = publish.publish_claims(profile)
    every = f"every estimate: {paths.results(profile.name) / 'claims.md'}"
    if publish.all_left_out(profile):
        every = f"nothing was written: the results in {paths.results(profile.name)} are of other settings"
    print("\n".join([claims.text(verdicts), "", *here.differences(profile, verdicts), every]))
    if options.other_machine:
        print(f"written to {here.write_other_machine(profile, verdicts)}")


def _run_command(options: argparse.Namespace) -> str:
    """The command that computes what `options` asks for."""
    import shlex

    words = ["mulnb", "run", "--profile", options.profile]
    for text in options.set:
        words += ["--set", text]
    return shlex.join(words)


def _bench(options: argparse.Namespace) -> None:
    """`mulnb bench`: the only place of the package that knows the benchmarks, which are in the checkout beside it."""
    if not (paths.CHECKOUT / "benchmarks" / "measures.py").is_file():
        raise UserError("mulnb bench measures a checkout: clone the repository and run it there")
    sys.path.insert(0, str(paths.CHECKOUT))
    from benchmarks import measures, plan, report

    measured = measures.run(plan.QUICK if options.quick else plan.FULL, lambda line: print(line, file=sys.stderr, flush=True))
    print(report.markdown(measured))
    print(f"written to {report.write(measured)}")


if __name__ == "__main__":
    sys.exit(main())
