/* The opened adapter in the page's address. */

/* Open the page at another adapter: in the tab that is shown, the list's own aside. */
export function openAdapter(first, name) {
	if (!name) return [];
	const url = new URL(window.location.href);
	if (url.searchParams.get("tab") === first) url.searchParams.delete("tab");
	url.searchParams.set("adapter", name);
	window.location.assign(url);
	return [];
}
