"""From a checkpoint to answers on pictures."""
