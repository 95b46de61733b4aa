"""What happens to a study: Celery tasks that prepare it and draft its report."""
