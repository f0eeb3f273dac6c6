/* The address of the runs page. */

/* An address that names a run which does not exist gets the one that is shown. Without a
   fingerprint the page has not opened yet; an address that names no run goes on meaning the
   newest. */
export function correctRun(fingerprint, shown) {
	const url = new URL(window.location.href);
	const named = url.searchParams.get("run");
	if (!fingerprint || !named || named === shown) return [];
	if (shown) url.searchParams.set("run", shown);
	else url.searchParams.delete("run");
	history.replaceState(history.state, "", url);
	return [];
}
