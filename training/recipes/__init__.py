"""Recipes: each trains one bundle from nothing or from another, with one command."""
