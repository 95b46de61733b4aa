"""Training: corpora, de-identification, fine-tuning, recipes, metrics and evaluation."""
