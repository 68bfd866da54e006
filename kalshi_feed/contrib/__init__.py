"""What joins the feed to other libraries: each module needs one of them, behind an extra of the same name.

prometheus: FeedCollector, a feed's figures for a Prometheus server. Imports nothing by itself, and nothing in the package imports
it. Everything here uses the public interface of the feed only, and is an example of how to.
"""
