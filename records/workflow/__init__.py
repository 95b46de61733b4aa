"""A study's way as rows: studies, draft requests, leases, drafts, holds, events."""
