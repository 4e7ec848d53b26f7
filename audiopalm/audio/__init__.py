"""Audio: reading and writing files, channels, silence, spectra, a vocoder."""
