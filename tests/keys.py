"""The secrets of two clients."""

ALICE = "alice-secret-0123456789"
BOB = "bob-secret-0123456789"
