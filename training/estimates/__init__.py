"""Estimates what a training takes before it starts: examples, steps, hours, memory and disk."""
