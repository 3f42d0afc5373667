"""Training: the loop, its losses, optimizer and state."""
