"""The doors to everything outside, as small Protocols. Flows speak to these, never to a library behind them."""

from asbx.ports.budget import Budgets, BudgetService
from asbx.ports.clock import Clock, Line, Recorder, Workers
from asbx.ports.cloud import Catalogue, Cloud, CloudError, Notices, Prices
from asbx.ports.ledger import Ledger, Tenure
from asbx.ports.scheduler import Controllers, Scheduler

__all__ = [
    "BudgetService",
    "Budgets",
    "Catalogue",
    "Clock",
    "Cloud",
    "CloudError",
    "Controllers",
    "Ledger",
    "Line",
    "Notices",
    "Prices",
    "Recorder",
    "Scheduler",
    "Tenure",
    "Workers",
]
