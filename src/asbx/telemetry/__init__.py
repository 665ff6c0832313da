"""Where events go: one line in the log, one row in the ledger. Nothing here may stop a launch."""
