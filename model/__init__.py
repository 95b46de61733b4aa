"""ClinicalBLIP: pixels and words in, a draft out. Knows no database, no queue, no network."""
