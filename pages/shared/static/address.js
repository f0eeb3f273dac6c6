/* The state of a page in its address, so that reload, share and back work. */

/* Write values into the address; an empty one removes its name. */
export function remember(names, ...values) {
	const url = new URL(window.location.href);
	names.forEach((name, index) => {
		const value = values[index];
		if (value === null || value === undefined || value === "") url.searchParams.delete(name);
		else url.searchParams.set(name, value);
	});
	history.replaceState(history.state, "", url);
	return [];
}

/* Another address of this page, in place of the one it has. */
export function replace(address) {
	if (address) history.replaceState(history.state, "", address);
	return [];
}

/* Open another page of this server; an empty address stays here. */
export function go(address) {
	if (address) window.location.assign(address);
	return [];
}
