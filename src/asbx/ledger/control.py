"""Who of a pair of controllers may write: a row with a counter, and a fence in front of every transaction.

A program that was stopped for a while and wakes up still believes that it works. So its every transaction first
compares the counter it was given with the one that stands there; a write also holds the row, so that nobody can be
relieved in the middle of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, select, update

from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE
from asbx.model.control import Control

if TYPE_CHECKING:
    from datetime import datetime


class Controls(Database):
    """The part of the ledger behind the door `Tenure`."""

    def control(self) -> Control:
        """Return who works, whoever asks."""
        query = select(t.control.c.epoch, t.control.c.holder, t.control.c.beat, t.control.c.since)
        with self.transaction(READ, fenced=False) as connection:
            return Control(**connection.execute(query).mappings().one())

    def take_control(self, seen: Control, holder: str, at: datetime) -> bool:
        """Take over from what was seen, unless somebody else did meanwhile; from now on every transaction is fenced."""
        epoch = seen.epoch + 1
        since = (seen.since if seen.holder == holder else None) or at  # a restart is no change
        with self.transaction(WRITE, fenced=False) as connection:
            mine = update(t.control).where(t.control.c.epoch == seen.epoch)
            taken = connection.execute(mine.values(epoch=epoch, holder=holder, beat=0, since=since)).rowcount == 1
        if taken:
            self.epoch = epoch
        return taken

    def beat(self) -> None:
        """Show that the holder lives. Raises LedgerError (`ledger-relieved`) when it is the holder no more."""
        with self.transaction(WRITE) as connection:
            connection.execute(update(t.control).values(beat=t.control.c.beat + 1))

    def leave_control(self) -> None:
        """Let the other controller take over at once. What still runs here can write no more."""
        with self.transaction(WRITE, fenced=False) as connection:
            mine = and_(t.control.c.epoch == self.epoch, t.control.c.holder != "")
            connection.execute(update(t.control).where(mine).values(epoch=t.control.c.epoch + 1, holder=""))
