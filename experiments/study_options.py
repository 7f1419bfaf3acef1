"""What many studies ask of the command line: which seed, and whether only to try that the script runs."""

import argparse
from dataclasses import replace

from sslbook.budget import BUDGETS, Budget


def study_options(about: str) -> tuple[int, bool, Budget]:
    """--seed and --small; the cpu budget, with few images where it is small. `about` is the script's docstring."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="one epoch of few images, nothing is written")
    arguments = parser.parse_args()
    plan = BUDGETS["cpu"]
    if arguments.small:
        plan = replace(plan, train=512, test=256)
    return arguments.seed, arguments.small, plan
