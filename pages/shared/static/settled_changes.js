/* One event for many fields that change at once: see pages/shared/settled_changes.py. */

const QUIET_MS = 60;

const watched = new Map();

const entryOf = (name) => {
	if (!watched.has(name)) watched.set(name, { tell: null, timer: 0, hasBegun: false });
	return watched.get(name);
};

function later(name) {
	const entry = entryOf(name);
	clearTimeout(entry.timer);
	entry.timer = setTimeout(() => {
		if (entry.tell) entry.tell();
		else later(name);
	}, QUIET_MS);
}

/* The hidden part whose input event is the one event. */
export function settledChanges(_element, props, _watch, trigger, name) {
	let count = 0;
	entryOf(name).tell = () => {
		count += 1;
		props.value = String(count);
		trigger("input");
	};
}

/* A field has changed. */
export function noticed(name) {
	if (entryOf(name).hasBegun) later(name);
	return [];
}

/* The page is filled: what follows the fields is asked for, now and after every change. */
export function begin(name) {
	entryOf(name).hasBegun = true;
	later(name);
	return [];
}
