/* Buttons, fields and what else the spectrum page's parts are operated with. */

import { make } from "../shared/elements.js";

export const button = (text, press, className = "rs-button rs-small") => {
	const node = make("button", className, text);
	node.type = "button";
	node.addEventListener("click", press);
	return node;
};

/* A box to tick, with its words. */
export function check(text, change) {
	const label = make("label", "rs-check");
	const input = make("input");
	input.type = "checkbox";
	input.addEventListener("change", () => change(input.checked));
	label.append(input, document.createTextNode(text));
	return label;
}

/* A titled part of the page, with something more beside the title. */
export function panel(title, node, more) {
	const head = make("div", "rs-panel-head");
	head.append(make("h3", "", title));
	if (more) head.append(more);
	const section = make("section", "rs-panel");
	section.append(head, node);
	return section;
}

/* A number to type, with words on both sides. */
export function numberField(before, options, change, after) {
	const label = make("label", "rs-wish", before);
	const input = make("input");
	Object.assign(input, { type: "number", ...options });
	input.addEventListener("change", () => change(Number(input.value)));
	label.append(input, document.createTextNode(after || ""));
	return label;
}

/* Call again whenever the node comes back into sight, as when its tab is chosen. */
export function whenShown(node, call) {
	let seen = true;
	new ResizeObserver(() => {
		const now = node.offsetParent !== null;
		if (now && !seen) call();
		seen = now;
	}).observe(node);
}
