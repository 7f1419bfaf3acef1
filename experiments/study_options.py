"""What many studies ask of the command line: which seed, and whether only to try that the script runs."""

import argparse
from dataclasses import replace

from sslbook.budget import BUDGETS, Budget


def study_parser(about: str, seed: bool = True) -> argparse.ArgumentParser:
    """--small, and --seed unless the study has all its seeds in one log. `about` is the script's docstring."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if seed:
        parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="one epoch or two on little data, nothing is written")
    return parser


def study_options(about: str) -> tuple[int, bool, Budget]:
    """--seed and --small of a study that asks nothing else; the cpu budget, with few images where it is small."""
    arguments = study_parser(about).parse_args()
    plan = BUDGETS["cpu"]
    if arguments.small:
        plan = replace(plan, train=512, test=256)
    return arguments.seed, arguments.small, plan
