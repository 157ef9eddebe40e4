"""A service that answers pictures over HTTP."""
