"""Whether the image model supports what a draft says, with calibrated thresholds."""
