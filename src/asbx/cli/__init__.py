"""The command line: one file a command, imported only when used; the only place where errors become exit statuses."""
