"""Pure decisions: from what is recorded to the next step. Sees no clock, no door, no logger, no randomness."""
