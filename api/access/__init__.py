"""Who asks and what may be answered: the visitor, the table of routes, cookies."""
