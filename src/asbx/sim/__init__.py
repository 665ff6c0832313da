"""The pretend world in pure form: a market without machines, shared by the lab's emulator and the simulator."""
