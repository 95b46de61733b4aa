"""Who may log in and what they may do: accounts, passwords, second factors, sessions, tokens."""
