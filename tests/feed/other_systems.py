"""Makes this process look like one on Windows or macOS, as far as possible; run first, in a process of its
own."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
import time
from typing import Any

STEP = 1 / 64  # seconds by which Windows moves time.monotonic() (before Python 3.13)

# What is missing there. Not os.name and sys.platform: the standard library would look for what is not here.
MACOS: dict[Any, str] = {
    select: "epoll",
    time: "CLOCK_BOOTTIME CLOCK_MONOTONIC_COARSE",
    socket: "SOCK_CLOEXEC SOCK_NONBLOCK TCP_USER_TIMEOUT TCP_QUICKACK MSG_NOSIGNAL SO_DOMAIN SO_PROTOCOL",
    signal: "SIGRTMIN SIGRTMAX SIGPWR SIGPOLL SIGSTKFLT sigtimedwait sigwaitinfo",
    os: "eventfd memfd_create pidfd_open sched_getaffinity sched_setaffinity posix_fadvise pipe2",
}
WINDOWS: dict[Any, str] = {
    select: "epoll poll",
    time: "CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME clock_gettime clock_gettime_ns tzset",
    socket: "AF_UNIX socketpair SO_REUSEPORT MSG_DONTWAIT SOCK_CLOEXEC SOCK_NONBLOCK TCP_USER_TIMEOUT "
    "TCP_QUICKACK MSG_NOSIGNAL CMSG_LEN sethostname send_fds recv_fds",
    signal: "SIGHUP SIGKILL SIGSTOP SIGALRM SIGUSR2 SIGCHLD SIGQUIT SIGPIPE alarm setitimer pause sigwait "
    "pthread_kill pthread_sigmask siginterrupt sigtimedwait sigwaitinfo",
    os: "fork forkpty register_at_fork getuid geteuid getgid killpg setsid fchmod fchown chown mkfifo nice "
    "uname eventfd memfd_create pidfd_open sched_getaffinity posix_fadvise posix_fallocate pipe2 "
    "pread pwrite getloadavg sysconf",
}
NO_MODULES = {
    "macos": ("spwd",),
    "windows": ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "curses", "readline", "syslog"),
}


def become(system: str) -> None:
    """Take away what this system does not have."""
    for module, names in (WINDOWS if system == "windows" else MACOS).items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for name in NO_MODULES[system]:
        sys.modules[name] = None  # type: ignore[assignment]  # an import raises ModuleNotFoundError
    if system == "windows":
        signal.SIGBREAK = signal.SIGUSR1  # type: ignore[attr-defined]
        socket.socketpair = _pair  # type: ignore[assignment]
        _make_coarse()


def _pair(*_: object) -> tuple[socket.socket, socket.socket]:
    """A socket pair over TCP, as the standard library makes it there."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def _make_coarse() -> None:
    fine = time.monotonic
    time.monotonic = lambda: math.floor(fine() / STEP) * STEP
    time.monotonic_ns = lambda: int(time.monotonic() * 1e9)
