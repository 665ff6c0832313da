"""Hold a CSV file against the FOCUS validator, whose environment runs this: `python check.py FILE`.

The validator guesses the types of a CSV file, and takes an account of digits for a number; it gets the columns as the
specification types them. Its rules for 1.0 (release 1.0.0) still call four columns by the names of drafts, and one rule
asks for a column (ChargeType) that 1.0 no longer has; nothing can pass that one. Prints one line of JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

DRAFTS = {
    "InvoiceIssuerName": "InvoiceIssuer",
    "ProviderName": "Provider",
    "PublisherName": "Publisher",
    "ResourceId": "ResourceID",
}
DECIMALS = {
    *("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"),
    *("ListUnitPrice", "ContractedUnitPrice", "ConsumedQuantity", "PricingQuantity"),
}


def main(path: Path) -> None:
    """Print how many rules passed and which failed, as it is and with things spoiled, which must fail."""
    found = importlib.util.find_spec("focus_validator")
    assert found is not None
    assert found.origin is not None
    # It looks for its list of currencies beside where it is run.
    os.chdir(Path(found.origin).parents[1])
    import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415

    frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    for name in frame:
        frame[name] = (
            frame[name].astype(float)
            if name in DECIMALS
            else frame[name].astype(object).where(frame[name].notna(), None)
        )
    frame = frame.rename(columns=DRAFTS)
    spoiled = {
        "BillingCurrency": frame.assign(BillingCurrency="bucks"),
        "ChargePeriodStart": frame.assign(ChargePeriodStart="yesterday"),
        "PricingCategory": frame.assign(PricingCategory="Cheap"),
        "BilledCost": frame.drop(columns="BilledCost"),
    }
    passed, failed = judged(frame)
    print(json.dumps({
        "rows": len(frame),
        "passed": passed,
        "failed": failed,
        "spoiled": {name: judged(each)[1] for name, each in spoiled.items()},
    }))  # fmt: skip


def judged(frame: object) -> tuple[int, list[str]]:
    """Return how many rules of FOCUS 1.0 a table passes, and the names of those it does not."""
    from focus_validator.validator import (  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        Validator,
    )

    rules = Validator("", None, "console", rules_version="1.0").spec_rules
    rules.load()
    found = rules.validate(frame).checklist
    failed = sorted(name for name, one in found.items() if "PASSED" not in str(one.status))
    return len(found) - len(failed), failed


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
