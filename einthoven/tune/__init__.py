"""What is trainable, and how much: full, head, partial, LoRA, adapters."""
