"""Scores of report texts: BLEU, METEOR, ROUGE-L, clinical F1, RadGraph F1, intervals."""
