"""celery_worker.py: a real prefork worker, its broker and results in folders of the test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.support import PYTHON, Access, environment

from .support import SAMPLES, sample, started, with_access

pytest.importorskip("celery", reason="celery is not installed: its sample is not tried")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")]

CONFIG = """
from celery.signals import worker_process_init

def note(change):
    with open({states!r}, "a") as file:
        file.write(change.state.value + "\\n")

def listen(**_):
    from celery_worker import feeds
    feeds.get().on_state(note)

worker_process_init.connect(listen, weak=False)
broker_url = "filesystem://"
broker_transport_options = {{"data_folder_in": {folder!r}, "data_folder_out": {folder!r}, "control_folder": {control!r}}}
result_backend = "file://{results}"
broker_connection_retry_on_startup = True
worker_hijack_root_logger = False
"""  # noqa: E501
ASK = """
from celery_worker import quote
found = [quote.delay(ticker) for ticker in ("KX-A", "KX-B") * 5]
for one in found:
    print(one.get(timeout=20, interval=0.05))
"""


def test_each_process_of_the_pool_has_its_feed(access: Access, tmp_path: Path) -> None:
    states = tmp_path / "states"
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    config = CONFIG.format(
        folder=str(tmp_path / "queue"),
        control=str(tmp_path / "control"),
        results=tmp_path / "results",
        states=str(states),
    )
    (tmp_path / "celery_config_of_the_test.py").write_text(config, encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(SAMPLES)))
    environ = with_access(access) | {
        "KALSHI_TICKERS": "KX-A,KX-B",
        "CELERY_CONFIG_MODULE": "celery_config_of_the_test",
        "PYTHONPATH": path,
    }
    worker = (
        "-m",
        "celery",
        "--workdir",
        str(SAMPLES),
        "-A",
        "celery_worker",
        "worker",
        "--concurrency",
        "2",
        "--pool",
        "prefork",
    )
    with started(*worker, "--without-gossip", "--without-mingle", "--loglevel", "INFO", **environ) as process:
        access.exchange.wait_for_connections(2, timeout=25)  # each before the first task
        asked = subprocess.run(
            [PYTHON, "-c", ASK],
            env=environment(**environ),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert asked.returncode == 0, asked.stderr
        answers = asked.stdout.splitlines()
        assert len(answers) == 10 and all(
            "'bid': '0." in line and "'ask': '0." in line for line in answers
        ), answers
        assert len(access.exchange.handshakes) == access.exchange.connections == 2, (
            "none in the parent, and no second one"
        )
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert "Traceback" not in err and time.monotonic() - before < 25, err
    assert states.read_text().split().count("CLOSED") == 2, "closed, and not just gone"
    access.exchange.wait_for_connections(0)


@pytest.mark.simulates
def test_simulate_needs_no_broker() -> None:
    result = sample("celery_worker.py", "--simulate")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["KXSIM-001", "KXSIM-002", "KXSIM-003"]
    assert "Traceback" not in result.stderr and "'bid': '0." in lines[0], result.stderr
