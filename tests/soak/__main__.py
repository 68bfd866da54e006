"""``python -m tests.soak --minutes N --seed S``: the chaos soak.

Three feeds over TLS, 50 markets, and 2,000 changes per second. Every one to three seconds another fault of
the network, the exchange or the user begins, drawn from the seed (printed; random if not given). Meanwhile
every LIVE book is compared with the exchange's history, and every delta that was not delivered with the
losses that were announced (tests/faults/oracle.py). At the end the faults stop, and every book must become
LIVE and right within the promised time. In ten minutes or more, memory must not keep growing. The last line
is JSON; the exit status is 1 if anything was wrong. Loopback only; it ends by itself.

``--relay``: instead, a relay, a standby, Redis and four consumers, each a process (tests/soak/relay). One
fault follows the other, and the report says how long each consumer took to recover. ``--churn N``: N
consumers, each a process, come to a relay and go.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import sys

import pytest

from tests.soak.report import last_line, table
from tests.soak.soak import Soak

# beyond the planned time; then the stack of every thread is printed and the process ends
MARGIN_SECONDS = 180.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="the chaos soak")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument(
        "--seed",
        type=int,
        default=None,
        help="seed of the faults; it is printed, so that you can repeat a run",
    )
    parser.add_argument("--relay", action="store_true", help="the chaos of a relay and its consumers")
    parser.add_argument("--only", default="", help="with --relay: only the faults with this in their names")
    parser.add_argument("--plant", default="", help="with --relay: a bug that must be found")
    parser.add_argument("--churn", type=int, metavar="N", help="N consumers come to a relay and go")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    faulthandler.dump_traceback_later(60 * arguments.minutes + MARGIN_SECONDS, exit=True)
    what = " --relay" if arguments.relay else f" --churn {arguments.churn}" if arguments.churn else ""
    print(f"python -m tests.soak{what} --minutes {arguments.minutes:g} --seed {seed}", flush=True)
    if (arguments.churn or arguments.relay) and not _has_redis():
        return 0
    if arguments.churn:
        return _churn(seed, 60 * arguments.minutes, arguments.churn)
    if arguments.relay:
        return _relay(seed, 60 * arguments.minutes, arguments.only, arguments.plant)
    outcome = Soak(seed=seed, seconds=60 * arguments.minutes, tell=lambda text: print(text, flush=True)).run()
    print(table(outcome))
    print(last_line(outcome))
    return 0 if outcome.is_good else 1


def _has_redis() -> bool:
    from tests.relay.redis_server import program

    try:
        program()
    except pytest.skip.Exception as missing:
        print(missing)
        return False
    return True


def _relay(seed: int, seconds: float, only: str, plant: str) -> int:
    from tests.soak.relay.chaos import RelayChaos

    outcome = RelayChaos(
        seed=seed, seconds=seconds, only=only, plant=plant, log=lambda text: print(text, flush=True)
    ).run()
    for kind, count in sorted(outcome.faults.items(), key=lambda item: -item[1]):
        print(f"{kind:40}{count:8}")
    print(*outcome.findings, sep="\n")
    print(json.dumps({"ok": outcome.is_good, "seed": seed, "seconds": seconds, **outcome.figures}))
    return 0 if outcome.is_good else 1


def _churn(seed: int, seconds: float, consumers: int) -> int:
    from tests.soak.relay.churn import RelayChurn

    churn = RelayChurn(
        seed=seed, seconds=seconds, consumers=consumers, log=lambda text: print(text, flush=True)
    ).run()
    print(*churn.findings, sep="\n")
    print(json.dumps({"ok": churn.is_good, **churn.figures}))
    return 0 if churn.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
