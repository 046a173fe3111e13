"""Building blocks that encoders and decoders share."""
