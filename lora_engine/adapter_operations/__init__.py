"""What can be done with a trained adapter: resize, combine, extract, merge; each says its error."""
