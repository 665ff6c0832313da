"""The composition root: real doors, loops that outlive a failing pass, the control socket."""
