"""API keys of two clients."""

ALICE, BOB = "alice-secret-0123456789", "bob-secret-0123456789"
