"""Where examples come from, one module a corpus."""
