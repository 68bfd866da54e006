"""What the feed costs, measured on loopback: ``python -m tests.benchmarks [--quick] [--json FILE] [section
…]``.

A server in its own process, on the other core, sends frames that were encoded beforehand; each client under
measurement is a new process. Cases to compare are measured in interleaved rounds of one run, because machines
change their speed within seconds. Nothing here is a test with a limit: results are printed, kept as JSON, and
judged by people.
"""
