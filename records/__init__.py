"""What is known: Postgres, image bytes, settings, errors. Knows no torch and no pixels."""
