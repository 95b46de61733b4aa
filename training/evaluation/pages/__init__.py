"""The sections of an evaluation's report, and its templates in HTML and in Markdown."""
