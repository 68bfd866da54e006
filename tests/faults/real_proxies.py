"""Squid and tinyproxy, if installed. Each runs on its own loopback port, with its own configuration.

Neither reads or touches the machine's own proxies, and both end with the test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support import wait_until

__all__ = ["PASSWORD", "USER", "running"]

USER, PASSWORD = "us3r", "r1ght-password"
_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_STARTS_WITHIN: Final = 20.0  # seconds
# in case this process is killed
_BOUNDED: Final = ["timeout", "-k", "5", "60"] if shutil.which("timeout") else []

# The helper is asked "user password" and says OK or ERR. Ports other than {allowed} are denied, with or
# without a password.
_SQUID: Final = """
http_port 127.0.0.1:{listen}
auth_param basic program /bin/sed -u -e s/^{user}.{password}$/OK/ -e t -e s/.*/ERR/
acl known proxy_auth REQUIRED
acl allowed port {allowed}
http_access deny !allowed
http_access deny !known
http_access allow all
visible_hostname squid.test
pid_filename none
access_log none
cache_log /dev/null
cache_store_log none
netdb_filename none
coredump_dir none
cache deny all
pinger_enable off
max_filedescriptors 256
shutdown_lifetime 0 seconds
"""
_TINYPROXY: Final = """
Listen 127.0.0.1
Port {listen}
BasicAuth {user} {password}
{allowed}
Timeout 30
MaxClients 20
"""


@contextlib.contextmanager
def running(name: str, folder: Path, *allowed: int) -> Iterator[int]:
    """Run the proxy, which lets ``USER`` through to the ports ``allowed`` of any host, and yield its port.
    Skips the test if it is not installed."""
    program = shutil.which(name, path=_PATH)
    if program is None:
        pytest.skip(f"{name} is not installed here (Debian's package has the same name)")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = taken.getsockname()[1]
    if name == "squid":
        text = _SQUID.format(listen=listen, user=USER, password=PASSWORD, allowed=" ".join(map(str, allowed)))
    else:
        ports = "\n".join(f"ConnectPort {port}" for port in allowed)
        text = _TINYPROXY.format(listen=listen, user=USER, password=PASSWORD, allowed=ports)
    config, log = folder / f"{name}.conf", folder / f"{name}.log"
    config.write_text(text)
    options = ["-N", "-d1", "-f"] if name == "squid" else ["-d", "-c"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *options, str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/"
        )

    def is_up() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", listen), 1):
            return True
        return False

    try:
        wait_until(is_up, _STARTS_WITHIN, f"{name} (its log is {log})")
        yield listen
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
