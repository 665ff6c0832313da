"""An EC2 that runs on this machine: moto for the store, our own engine for everything a burst depends on.

Start it with `python -m asbx.lab.emulator`; any AWS SDK reaches it over HTTP. It knows nothing of the product: the
only module shared with it is the market model.
"""
