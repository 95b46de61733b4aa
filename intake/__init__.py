"""Receives what comes in. It writes rows and files; the sweep rings the bells."""
