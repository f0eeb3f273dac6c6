"""The spectrum page: what a matrix, a weight or an adapter keeps at every rank.

page            the page and its four tabs
matrix_tab      the tab "A matrix": ways to bring one
matrix_source   which matrix was chosen, in the address and as a file or tensor
matrix_opening  decomposes a chosen matrix, with progress
matrix_cache    the matrices that are open, by id
matrix_view     what the browser gets of a matrix
adapter_tab     the tab "An adapter"; adapter_view writes its numbers
two_adapters_tab  the tab "Two adapters"; two_adapters_view writes its words and table
checkpoints_tab   the tab "Two checkpoints"; checkpoints_view writes its words and numbers
module_grid     the grid of modules that three tabs show
spectrum_figures  the Plotly figures
routes          factors, exact windows and downloads by GET
api             the named endpoints `/svd` and `/spectrum`
static          the page's CSS and JavaScript
"""

from pages.spectrum.page import build

__all__ = ["build"]
