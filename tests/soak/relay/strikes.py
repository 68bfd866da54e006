"""What each fault of the chaos of a relay does, and what ends it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from typing import Final

import redis

from kalshi_feed.relay.layout import keys_of
from tests.soak.relay.parts import ConsumerPart
from tests.soak.relay.schedule import Strike
from tests.soak.relay.stage import Slot, Stage

__all__ = ["Strikes"]

LEASE: Final = keys_of("main").lease
RIVAL_WITHIN: Final = 30.0  # seconds in which a second relay must have given up, on a busy machine


class Strikes:
    """Strikes those on the stage. For the run's thread. ``finding`` gets what must not happen."""

    def __init__(self, stage: Stage, finding: Callable[[str], object]) -> None:
        self._stage = stage
        self._finding = finding

    def begin(self, strike: Strike, alone: bool) -> Callable[[], object]:
        """Begin a fault; return what ends it."""
        kind, dice = strike.kind, strike.dice
        who, _, what = kind.partition(" ")
        if who == "Redis":
            return self._strike_redis(what)
        if who == "exchange":
            return self._strike_exchange(what, dice)
        if kind == "second relay":
            return self._rival(alone)
        if kind == "lease taken away":
            lasts = 1_000 + int(3_000 * dice)
            with contextlib.suppress(redis.RedisError):  # struck itself at the same time
                self._stage.server.client(socket_timeout=1.0).set(LEASE, "an intruder", px=lasts)
            return _nothing
        if who.startswith("consumer"):
            slots = [slot for slot in self._stage.consumers if slot.proxy or who == "consumer"]
            slot = slots[int(dice * len(slots))]
        elif who.startswith("standby"):
            relays, leader = self._stage.relays, self._stage.leader()
            slot = next((slot for slot in relays if slot is not leader), relays[0])
        else:
            slot = self._stage.leader()
        return self._strike_network(slot, what) if who.endswith("'s") else self._strike_process(slot, what)

    def _strike_redis(self, what: str) -> Callable[[], object]:
        server = self._stage.server
        if what.startswith("frozen"):
            if not server.is_running:  # killed at the same time
                return _nothing
            server.freeze()
            return lambda: server.thaw() if server.is_running else None
        if what == "killed, older data":
            data, old = server.folder / "data", server.folder / "old"
            with contextlib.suppress(OSError, shutil.Error):  # it goes on writing, or has no data
                shutil.copytree(data, old)

            def go_back() -> None:
                server.kill()
                server.forget()
                if old.exists():
                    old.rename(data)
                server.start()

            return go_back
        server.kill()
        if what == "killed, data lost":
            server.forget()
        return server.start

    def _strike_exchange(self, what: str, dice: float) -> Callable[[], object]:
        exchange = self._stage.exchange
        if what == "restarts":
            exchange.close()
            return exchange.start
        with contextlib.suppress(LookupError):
            if what == "resets":
                exchange.reset()
            elif what == "loses frames":
                exchange.lose(1 + int(dice * 20), "orderbook_delta" if dice > 0.2 else None)
        return _nothing

    def _strike_network(self, slot: Slot, what: str) -> Callable[[], object]:
        proxy = slot.proxy
        assert proxy is not None
        if what == "network cut":
            proxy.cut(reset=True)
            return _nothing
        if what == "network down":
            proxy.refusing = True
            proxy.cut()
        else:
            proxy.down.black_hole = proxy.up.black_hole = True
        return proxy.heal

    def _strike_process(self, slot: Slot, what: str) -> Callable[[], object]:
        part = slot.part
        if part.ended is not None:
            return _nothing
        if what == "killed":
            part.kill()
            return _nothing
        if what == "ended":
            self._stage.end_part(part)
            return _nothing
        part.freeze()
        if what == "stopped beyond MAXLEN":

            def trim_and_thaw() -> None:
                with contextlib.suppress(redis.RedisError):  # struck itself at the same time
                    client = self._stage.server.client(socket_timeout=1.0)
                    client.xtrim(keys_of("main").stream, maxlen=50, approximate=False)
                part.thaw()

            return trim_and_thaw
        if isinstance(slot.config, ConsumerPart):
            return part.thaw

        def thaw() -> None:
            for consumer in self._stage.consumers:
                consumer.part.say("excuse")
            part.thaw()

        return thaw

    def _rival(self, alone: bool) -> Callable[[], object]:
        proxy = self._stage.slots["relay"].proxy
        assert proxy is not None
        rival = self._stage.workshop.start(self._stage.relay_config(proxy.port, standby=False), "rival")

        def end() -> None:
            deadline = time.monotonic() + RIVAL_WITHIN
            while rival.ended is None and time.monotonic() < deadline:
                self._stage.wait(0.05)
            rival.kill()
            error = rival.last.get("ended", {}).get("error", "nothing")
            if alone and "another relay" not in error:
                self._finding(f"a second relay did not give up: {error}")

        return end


def _nothing() -> None:
    pass
