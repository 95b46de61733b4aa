"""Who asks, and what he or she may have answered: logins, the table of routes, the middleware."""
