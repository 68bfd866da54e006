"""Django: live order books as JSON, from one feed in each process. This is a whole project in one file.

.venv/bin/python samples/django_view.py --simulate            then open http://127.0.0.1:8000/books/KXSIM-001
KALSHI_TICKERS=TICKER,OTHER .venv/bin/gunicorn --chdir samples -w 2 --threads 8 django_view:application
KALSHI_TICKERS=TICKER,OTHER .venv/bin/python samples/django_view.py runserver

    /books/<ticker>      200; 404 for a market that isn't served; 503 while its book is not LIVE
"""

from __future__ import annotations

import os
import sys

import django
from _common import end_as_ctrl_c, simulated_exchange
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from kalshi_feed import KalshiFeed, KalshiFeedError
from kalshi_feed.contrib.process import ProcessFeed

# -- settings.py

if not settings.configured:
    settings.configure(
        DEBUG=False,
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY") or os.urandom(32).hex(),
        ROOT_URLCONF="django_view",
        WSGI_APPLICATION="django_view.application",
    )
    django.setup()

# -- feeds.py


def tickers() -> list[str]:
    return os.environ.get("KALSHI_TICKERS", "").split(",")


def make_feed() -> KalshiFeed:
    feed = KalshiFeed.from_env()
    feed.subscribe("orderbook_delta", tickers())
    return feed


feeds = ProcessFeed(make_feed)  # nothing starts here: the first request of each worker does it

# -- views.py


def book(request: HttpRequest, ticker: str) -> JsonResponse:
    if ticker not in tickers():  # a visitor's URL must not make this server subscribe to more
        return JsonResponse({"error": f"no market {ticker} here"}, status=404)
    try:
        view = feeds.get().wait_for_book(ticker, timeout=2).view(require_live=True)
    except KalshiFeedError as error:  # not connected, no snapshot, STALE, a refused key …
        return JsonResponse({"error": str(error)}, status=503)
    return JsonResponse(view.to_dict())


# -- urls.py, wsgi.py, manage.py

urlpatterns = [path("books/<str:ticker>", book)]
application = get_wsgi_application()

if __name__ == "__main__":
    sys.modules["django_view"] = sys.modules["__main__"]
    if sys.argv[1:2] == ["--simulate"]:
        end_as_ctrl_c()
        with simulated_exchange():
            try:
                execute_from_command_line([sys.argv[0], "runserver", "--noreload", *sys.argv[2:]])
            finally:
                feeds.close()  # before the exchange ends
    else:
        execute_from_command_line(sys.argv)
