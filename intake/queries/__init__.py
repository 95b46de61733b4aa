"""Asks other systems about studies: a modality worklist for orders, a FHIR server for reports."""
