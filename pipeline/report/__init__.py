"""The visual report: what goes on its page, and how it is put together."""
