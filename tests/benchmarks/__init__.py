"""What the feed costs, measured on loopback: ``python -m tests.benchmarks [--quick] [--json FILE] [section
…]``.

A server in a process of its own, on the other core, sends frames that were encoded beforehand; each client
under measurement is a fresh process. What is compared is measured in interleaved rounds of one run, because
machines change their speed within seconds. Nothing here is a test with a limit: figures are printed, kept as
JSON, and judged by people.
"""
