"""The FHIR server: orders, reports and what they refer to come in, under /fhir."""
