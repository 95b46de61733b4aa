"""Bundles: which are known, stopped and recalled, and in which mode sites use them."""
