"""REST and pages of report styles: of sites, and of readers."""
