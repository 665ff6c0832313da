"""The doors to everything outside, as small Protocols. Flows speak to these, never to a library behind them."""

from asbx.ports.budget import Budgets, BudgetService
from asbx.ports.clock import Clock, Line, Recorder, Workers
from asbx.ports.cloud import Catalogue, Cloud, CloudError, Notices, Prices
from asbx.ports.ledger import JobPlanRecord, Ledger, Tenure
from asbx.ports.past import Accounting, Launches
from asbx.ports.prices import PriceBook, PriceList
from asbx.ports.scheduler import Controllers, JobArchive, Scheduler

__all__ = [
    "Accounting",
    "BudgetService",
    "Budgets",
    "Catalogue",
    "Clock",
    "Cloud",
    "CloudError",
    "Controllers",
    "JobArchive",
    "JobPlanRecord",
    "Launches",
    "Ledger",
    "Line",
    "Notices",
    "PriceBook",
    "PriceList",
    "Prices",
    "Recorder",
    "Scheduler",
    "Tenure",
    "Workers",
]
