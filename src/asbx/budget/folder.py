"""The folder from which the budget service imports what jobs cost."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def leave(folder: Path, name: str, document: Mapping[str, Any]) -> str:
    """Leave a document there, whole or not at all; return why not, "" when it lies there.

    One that lies there already stays as it is: it may have been read.
    """
    place, temporary = folder / name, ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if place.exists():
            return ""
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o640)
        Path(temporary).replace(place)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        return f"{place}: {error.strerror}"
    return ""
