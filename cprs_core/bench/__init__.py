"""Speed and memory of the compressor, side by side with the straightforward way: the command ``cprs bench``."""
