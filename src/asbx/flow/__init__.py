"""One short module a use case: ask a decision, do it through a door, record the answer, ask again."""
