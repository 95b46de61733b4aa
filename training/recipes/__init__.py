"""Recipes: each trains one bundle, from random weights or from another bundle, with one command."""
