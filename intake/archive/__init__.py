"""Gets studies for campaigns: from a folder, or from a PACS by C-FIND, C-GET and C-MOVE."""
