/* Whether the tab "A matrix" still has to open one when it is selected. */

let selected = false;

/* "yes" where there is nothing to open: a matrix is drawn, or Gradio selects the first tab while it
   draws the page. The page's loading opens what the address names, and that must not be ended. */
export function matrixIsOpen() {
	const first = !selected;
	selected = true;
	const drawn = document.querySelector("#matrix-view .rs-matrix-head h2");
	return first || drawn ? "yes" : "";
}
