"""Frozen values everybody may use. Does no I/O, knows no clock."""
