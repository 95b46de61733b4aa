"""De-identification of report texts before they become training material."""
