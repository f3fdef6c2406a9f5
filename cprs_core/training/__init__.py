"""Training a token critic: data -> windows -> losses -> a checkpoint that ``ContextCompressor.from_pretrained`` loads."""
