/* The state of the spectrum page in its address, so that reload, share and back work. */

import { visit } from "../shared/address.js";

/* What the address says of this page, replaced as a whole. */
export function rememberState(state) {
	const url = new URL(window.location.href);
	url.search = new URLSearchParams(state).toString();
	visit(url);
}

/* The two adapters that are compared, and the module that is drawn; for an event of the page. */
export function rememberPair(a, b, on, module) {
	if (a && b) rememberState({ a, b, on, ...(module ? { module } : {}) });
	return [];
}

/* What the address names, else what the fields hold. */
export function adapterInAddress(name) {
	return new URL(window.location.href).searchParams.get("adapter") || name;
}

export function pairInAddress(a, b, on) {
	const state = new URL(window.location.href).searchParams;
	return [state.get("a") || a, state.get("b") || b, on];
}
