"""Sound: reading, writing, spectra."""
