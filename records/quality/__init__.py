"""What became of drafts: outcomes, their kept numbers, figures with intervals, and the drift."""
