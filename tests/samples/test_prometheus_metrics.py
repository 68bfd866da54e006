"""prometheus_metrics.py, scraped while it runs."""

from __future__ import annotations

import re
import signal
import urllib.request

import pytest

from tests.cli.support import Access
from tests.support import wait_until

from .support import SAMPLES, sample, started, with_access

pytestmark = pytest.mark.slow


@pytest.mark.simulates
def test_it_is_scraped() -> None:
    script = str(SAMPLES / "prometheus_metrics.py")
    with started(script, "--simulate", "--listen", "127.0.0.1:0", PYTHONWARNINGS="error") as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def deltas() -> float:
            with direct.open(url, timeout=5) as answer:
                found = re.search(
                    r'^kalshi_feed_messages_total\{feed="default",type="orderbook_delta"\} (\S+)$',
                    answer.read().decode(),
                    re.M,
                )
            return float(found[1]) if found else 0.0

        wait_until(lambda: deltas() > 10, timeout=15)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_unknown_markets_end_it(access: Access) -> None:
    ended = sample("prometheus_metrics.py", "TYPO", "--listen", "127.0.0.1:0", **with_access(access))
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "UnknownMarketError: TYPO"
    assert ended.stderr.count("does not know the market TYPO: ") == 1  # by the log
