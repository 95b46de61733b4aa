"""The model ClinicalBLIP: it reads the pixels of a study and its priors, and writes a draft."""
