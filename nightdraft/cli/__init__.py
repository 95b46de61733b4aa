"""The command `nightdraft`: its options, its commands, and what they show on a terminal."""
