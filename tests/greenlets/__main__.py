"""Runs the tests marked ``greenlets`` with gevent's monkey patching: python -m tests.greenlets first|late ...

``first`` patches before anything else is imported, as a program does that knows it runs on gevent; ``late``
after the package was imported, as gunicorn does with --preload. More arguments are pytest's.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    when, *arguments = sys.argv[1:] or ["?"]
    if when not in ("first", "late"):
        sys.exit(__doc__)
    if when == "late":
        import kalshi_feed.simulator
        import kalshi_feed.sinks  # noqa: F401
    import warnings

    import gevent
    from gevent import monkey

    with warnings.catch_warnings():  # that ssl was imported before is the very thing to be tried
        if when == "late":
            warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        monkey.patch_all()

    import pytest

    gevent.get_hub()  # before a test counts descriptors
    sys.exit(
        pytest.main(
            ["-n", "0", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-m", "greenlets", *arguments]
        )
    )
