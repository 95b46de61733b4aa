"""Reports that other systems made: prior reports, and finals of studies that are drafted here."""
