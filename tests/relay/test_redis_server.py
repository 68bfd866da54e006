"""The test bed itself: what the other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from kalshi_feed.simulator.certificates import Certificates
from tests.faults.toxic_proxy import ToxicProxy
from tests.support import wait_until

from .redis_server import Cluster, RedisServer

ABANDON = """
import sys, time
from tests.relay.redis_server import RedisServer
server = RedisServer()
server.start()
print(server.pid, server.folder, flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_server_ends_even_if_the_tests_process_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ABANDON], stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout is not None
        pid, folder = test.stdout.readline().split()
        os.kill(int(pid), signal.SIGSTOP)  # not even a frozen one stays
        assert is_alive(int(pid))
        test.kill()
    wait_until(lambda: not is_alive(int(pid)) and not os.path.exists(folder), what="the server's end")


def test_data_survives_a_kill_only_if_it_is_durable(make_redis: Callable[..., RedisServer]) -> None:
    for durable in (False, True):
        server = make_redis(durable=durable)
        server.client().set("key", "value")
        server.restart()
        assert server.client().get("key") == (b"value" if durable else None)
    server.restart(with_data=False)
    assert server.client().get("key") is None


def test_a_frozen_server_answers_after_the_thaw(redis_server: RedisServer) -> None:
    client = redis_server.client(socket_timeout=0.1, retry=None)
    client.ping()
    redis_server.freeze()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    redis_server.thaw()
    wait_until(lambda: redis_server.client().ping())


def test_users_and_passwords(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(password="hunter2-default", users={"reader": ">hunter2-reader ~a* +get"})
    redis.Redis.from_url(server.address("", "hunter2-default")).close()
    with redis.Redis.from_url(server.address("reader", "hunter2-reader")) as reader:
        assert reader.get("a") is None
        with pytest.raises(redis.exceptions.NoPermissionError):
            reader.get("b")
        server.set_user("reader", ">hunter2-reader ~* +get")
        assert reader.get("b") is None
    server.restart()
    with redis.Redis.from_url(server.url) as anyone, pytest.raises(redis.AuthenticationError):
        anyone.get("b")
    assert server.everything() == {}


def test_tls_and_a_unix_socket(make_redis: Callable[..., RedisServer]) -> None:
    for server in (make_redis(tls=Certificates()), make_redis(unix=True)):
        server.client().set("key", "value")
        assert server.everything() == {b"key": b"value"}


def test_a_proxy_cuts_and_refuses(redis_server: RedisServer, redis_proxy: ToxicProxy) -> None:
    address = redis_server.address(port=redis_proxy.port)
    with redis.Redis.from_url(address, retry=None) as client:
        assert client.ping()
        redis_proxy.refusing = True
        redis_proxy.cut()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        redis_proxy.heal()
        assert client.ping()


@pytest.mark.slow
def test_a_cluster_moves_a_key_and_fails_over(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(replicas=1)
    key = next(key for key in map("key{{{}}}".format, range(100)) if cluster.node_of(key) is cluster.nodes[1])
    cluster.nodes[1].client().set(key, "value")
    with pytest.raises(redis.ResponseError, match=f":{cluster.nodes[1].port}$"):  # MOVED
        cluster.nodes[0].client().get(key)
    cluster.move(key, cluster.nodes[0])
    assert cluster.node_of(key) is cluster.nodes[0]
    assert cluster.nodes[0].client().get(key) == b"value"
    cluster.nodes[0].client().wait(1, 5000)  # the replica may be behind
    cluster.nodes[0].kill()
    wait_until(lambda: cluster.node_of(key) is cluster.nodes[3], 15, "the replica to take over")
    assert cluster.nodes[3].client().get(key) == b"value"
