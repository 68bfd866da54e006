"""What joins the feed to other libraries, each module behind an extra of its own; imports nothing by itself."""
