"""What would this work have cost, and waited, had the site been set up otherwise: one trace, several policies."""
