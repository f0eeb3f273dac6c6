/* The opened adapter and the chosen tab in the page's address. */

let chosen = false;

/* Gradio selects the first tab while it draws the page; only a person's choice is remembered. */
export function rememberTab(tab, first) {
	if (tab !== first) chosen = true;
	if (!chosen) return [];
	const url = new URL(window.location.href);
	url.searchParams.set("tab", tab);
	history.replaceState(history.state, "", url);
	return [];
}

/* Open the page at another adapter: in the tab that is shown, the list's own aside. */
export function openAdapter(first, name) {
	if (!name) return [];
	const url = new URL(window.location.href);
	if (url.searchParams.get("tab") === first) url.searchParams.delete("tab");
	url.searchParams.set("adapter", name);
	window.location.assign(url);
	return [];
}
