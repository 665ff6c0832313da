"""The cost meter: every second of every instance at the price in force, charged to somebody.

`tariff` says what an instance has cost up to a moment, `spans` who used it when, `charges` puts both together.
"""
