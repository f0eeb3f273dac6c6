/* The elements that several parts of a page are made of. Text is set as text, never as markup. */

export function make(tag, className, text) {
	const node = document.createElement(tag);
	if (className) node.className = className;
	if (text !== undefined) node.textContent = text;
	return node;
}

/* The document in a part's value; null while the value is empty. */
export const parsed = (value) => (value ? JSON.parse(value) : null);

/* One number with its label and a note. */
export function tile([label, value, note]) {
	const box = make("div", "rs-tile");
	box.append(make("dt", "", label), make("dd", "", value), make("dd", "rs-small-note", note));
	return box;
}

/* A bar of how many numbers something takes, beside the most that any takes. */
export function sizeBar(name, accent) {
	const row = make("div", `rs-bar${accent ? " rs-bar-accent" : ""}`);
	const track = make("div", "rs-track");
	track.setAttribute("role", "meter");
	track.setAttribute("aria-label", name);
	track.setAttribute("aria-valuemin", 0);
	const fill = make("div");
	const words = make("b");
	track.append(fill);
	row.append(make("span", "", name), track, words);
	const show = (value, most, text) => {
		fill.style.width = `max(2px, ${(100 * value) / most}%)`;
		words.textContent = text;
		track.setAttribute("aria-valuenow", value);
		track.setAttribute("aria-valuemax", most);
		track.setAttribute("aria-valuetext", text);
	};
	return { row, show };
}
