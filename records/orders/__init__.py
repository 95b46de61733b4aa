"""Orders: why an examination was requested, as other systems say it."""
