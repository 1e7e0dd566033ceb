"""Hard use: cases that no user should make, and that come anyway. ``python -m tests.hard.fuzz``."""
