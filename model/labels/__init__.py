"""CheXpert's 14 observations as labels of a report text, by rules or by CheXbert."""
