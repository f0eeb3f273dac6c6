"""An adapter taken away: the forms that other programs read, and what each keeps of what was trained."""
