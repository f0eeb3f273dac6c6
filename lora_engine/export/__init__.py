"""An adapter taken away: the forms that other programs read, each with its proof."""
