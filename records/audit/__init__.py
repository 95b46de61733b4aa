"""The trail: who saw and did what, from where, and about whom; sealed, and sent outside."""
