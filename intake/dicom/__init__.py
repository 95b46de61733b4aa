"""The DICOM listener: C-STORE requests are received, checked, stored and acknowledged."""
