/* What a picture is moved with: a slider that says its value, a button. */

import { make } from "../shared/elements.js";

/* `text(value)` is what stands beside it and what a screen reader hears; `moved(value)` is called
   as it moves. */
export function slider({ label, least, most, step = 1, value, text, moved }) {
	const row = make("label", "rs-slide");
	const input = make("input", "rs-range");
	Object.assign(input, { type: "range", min: least, max: most, step });
	input.setAttribute("aria-label", label);
	const said = make("b");
	const show = () => {
		const now = input.valueAsNumber;
		said.textContent = text(now);
		input.setAttribute("aria-valuetext", text(now));
		input.style.setProperty("--filled", `${(100 * (now - least)) / (most - least)}%`);
	};
	const set = (next) => {
		input.value = next;
		show();
	};
	input.addEventListener("input", () => {
		show();
		moved(input.valueAsNumber);
	});
	row.append(make("span", "", label), input, said);
	set(value);
	return { row, input, set };
}

export function button(text, pressed, strong = false) {
	const node = make("button", `rs-button rs-small${strong ? " rs-strong" : ""}`, text);
	node.type = "button";
	node.addEventListener("click", pressed);
	return node;
}

export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
