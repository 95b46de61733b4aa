"""Campaigns: many studies drafted within a window, each with its end and its reason."""
