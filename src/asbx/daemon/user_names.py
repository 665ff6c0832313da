"""Names of this machine's users."""

from __future__ import annotations

import pwd


def user_name(uid: int) -> str:
    """Return a user's name, `user 1234` where nobody here has that number: in a container, or without the directory."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
