/* The tabs of the runs page: only the one that is shown asks for news. */

import { rememberTab } from "../shared/address.js";

export function chooseTab(name, first, number, count) {
	rememberTab(name, first);
	return Array.from({ length: count }, (_, other) => ({
		__type__: "update",
		active: other === number,
	}));
}
