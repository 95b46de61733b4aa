"""Makes a folder of own reports out of what hospitals have: HL7 files, SR files, tables."""
