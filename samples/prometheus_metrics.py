"""Metrics for Prometheus: a feed that a Prometheus server, and Grafana behind it, can scrape.

.venv/bin/python samples/prometheus_metrics.py --simulate              then: curl http://127.0.0.1:9464/metrics
.venv/bin/python samples/prometheus_metrics.py TICKER --listen 0.0.0.0:9464

Needs the extra ``prometheus``. grafana_dashboard.json, next to this file, shows all metrics.
"""

from __future__ import annotations

from _common import close_after, feed_for, parser, say
from prometheus_client import start_http_server

from kalshi_feed.contrib.prometheus import FeedCollector

arguments = parser("Serve a feed's metrics to Prometheus.")
arguments.add_argument(
    "--listen",
    default="127.0.0.1:9464",
    metavar="ADDRESS:PORT",
    help="default: %(default)s; port 0 takes a free one",
)
options = arguments.parse_args()
address, _, port = options.listen.rpartition(":")

with feed_for(options) as (feed, tickers):
    FeedCollector(feed)
    server, thread = start_http_server(int(port), addr=address)
    say(f"http://{address}:{server.server_port}/metrics", feed)
    feed.subscribe(["orderbook_delta", "trade"], tickers)
    close_after(feed, options.seconds)
    feed.run_forever()
    server.shutdown()
    server.server_close()
