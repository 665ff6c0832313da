"""The pretend world in pure form: a market without machines, for the lab's emulator and the simulator."""
