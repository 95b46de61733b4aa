"""FHIR resources as plain JSON: what of them makes an order or a report.

One mapper reads R4, R4B and R5; where R5 differs, `versions` says how.
"""
