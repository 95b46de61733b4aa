"""What is known of studies and drafts: PostgreSQL, image bytes, settings, errors."""
