"""DICOM headers and pixels: which images are drafted from, and the views the network reads."""
