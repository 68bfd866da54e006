"""``python -m tests.soak --minutes N --seed S``: the chaos soak.

Three feeds over TLS, 50 markets, 2,000 changes a second, and every one to three seconds another fault of the
network, of the exchange and of the user, drawn from the seed (printed; without one a random seed). Meanwhile
every LIVE book is held against the exchange's history, and every delta that was not delivered against what
was announced (tests/faults/oracle.py). At the end all is made well: every book must become LIVE and equal in
the time promised. The last line is JSON; the exit status is 1 if anything was wrong. Loopback only; it ends
by itself.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys

from tests.soak.report import last_line, table
from tests.soak.soak import Soak

MARGIN_SECONDS = 180.0  # over the planned time: then every thread's stack is printed and the process ends


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="the chaos soak")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument(
        "--seed", type=int, default=None, help="of the faults; printed, so that a run can be repeated"
    )
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    faulthandler.dump_traceback_later(60 * arguments.minutes + MARGIN_SECONDS, exit=True)
    print(f"python -m tests.soak --minutes {arguments.minutes:g} --seed {seed}", flush=True)
    outcome = Soak(seed=seed, seconds=60 * arguments.minutes, tell=lambda text: print(text, flush=True)).run()
    print(table(outcome))
    print(last_line(outcome))
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
