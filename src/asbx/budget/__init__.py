"""The budget service (ASBB) behind its door."""
