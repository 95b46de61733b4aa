"""OpenID Connect: logins at an identity provider, whose answers and tokens are checked here."""
