"""REST and the page of quality, and the score of a second reader."""
