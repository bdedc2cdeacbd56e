"""What a model may see: Records turned into arrays."""
