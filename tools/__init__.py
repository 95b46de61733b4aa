"""Commands for developers of this repository; nothing of it is installed."""
