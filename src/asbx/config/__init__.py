"""One strict, frozen schema of everything a site can say. Read through attributes, never with `.get`."""
