"""House styles of reports, of a site or of a reader: headings, order, wordings and phrases."""
