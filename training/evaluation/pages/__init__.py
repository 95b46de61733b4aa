"""What an evaluation's report says, and how it looks in HTML and in Markdown."""
