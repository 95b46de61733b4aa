"""The Celery worker: sweeps, prepares studies and drafts them."""
