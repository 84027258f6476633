"""The command line: `mulnb profiles | show | run | claims | bench`.

Exit codes: 0 fine, 2 a mistake of the user, 130 interrupted, 1 anything else.
"""

from __future__ import annotations

import argparse
import os
import sys

import yaml

from mulnb import config
from mulnb.core import workers
from mulnb.core.errors import UserError

STAGES = ("memorization", "proxies", "unlearning", "sequential", "tune", "all")


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        options.command(options)
    except UserError as error:
        print(f"mulnb: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mulnb: interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain once more at its exit
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mulnb", description="Reproducible, fast, memorization-aware machine unlearning.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run, about: str, profile: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(command=run)
        if profile:
            sub.add_argument(profile, default="digits", metavar="NAME|FILE", help="a profile's name, or the path of a YAML file")
            sub.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override one key; repeatable")
        return sub

    command("profiles", _profiles, "List the profiles that ship with the package.")
    command("show", _show, "Print a resolved profile, what it will train, and how long that takes here.", "profile")
    run = command("run", _run, "Compute a profile's results; write tables and tidy frames.", "--profile")
    run.add_argument("--stage", choices=STAGES, default="all", help="one stage (default: all of them but tune)")
    run.add_argument("--workers", metavar="N", help="tasks at once (default: one per core; one on a GPU)")
    run.add_argument("--backend", choices=workers.BACKENDS, help="where tasks run (default: processes)")
    command("claims", _claims, "What the paper claims, and what a profile's results show of it.", "--profile")
    bench = command("bench", _bench, "Measure the speed here beside the usual way; write figures/bench/.")
    bench.add_argument("--quick", action="store_true", help="a short run that tests the bench and says nothing about speed")
    return parser


def _load(options: argparse.Namespace) -> config.Profile:
    return config.load_profile(options.profile, dict(config.parse_override(text) for text in options.set))


def _profiles(options: argparse.Namespace) -> None:
    for name in config.known_profiles():
        print(f"{name:20} {config.load_profile(name).title}")


def _show(options: argparse.Namespace) -> None:
    from mulnb import study
    from mulnb.study import cost

    profile = _load(options)
    study.check(profile)
    print(yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120), flush=True)
    print("\n".join(f"# {line}" for line in cost.report(cost.estimate(profile)).splitlines()))


def _run(options: argparse.Namespace) -> None:
    from mulnb.core import paths
    from mulnb.results import publish

    profile = _load(options)
    for name, value in {"MULNB_WORKERS": options.workers, "MULNB_BACKEND": options.backend}.items():
        if value:
            os.environ[name] = value
    workers.count()  # a mistake in it is told before anything is computed
    for stage in publish.STAGES if options.stage == "all" else [options.stage]:
        publish.publish(profile, stage)
    print(f"tables and frames: {paths.results(profile.name)}")


def _bench(options: argparse.Namespace) -> None:
    from mulnb.core import paths

    if not (paths.CHECKOUT / "benchmarks" / "measures.py").is_file():
        raise UserError("mulnb bench measures a checkout: clone the repository and run it there")
    sys.path.insert(0, str(paths.CHECKOUT))
    from benchmarks import measures, report

    plan = measures.QUICK if options.quick else measures.FULL
    measured = measures.run(plan, lambda line: print(line, file=sys.stderr, flush=True))
    print(report.markdown(measured))
    print(f"written to {report.write(measured)}")


def _claims(options: argparse.Namespace) -> None:
    from mulnb.results import claims, publish

    print(claims.text(publish.publish_claims(_load(options))))


if __name__ == "__main__":
    sys.exit(main())
