/* The problem box of pages/shared/wiring.py: an error in words, and a mark on each wrong field. */

import { make, parsed } from "./elements.js";

const labelOf = (field) =>
	field?.querySelector("[data-testid='block-info'], label > span")?.textContent.trim();

function mark(field, message) {
	field.classList.add("rs-wrong");
	const input = field.querySelector("input, textarea, select");
	if (input) input.setAttribute("aria-invalid", "true");
	field.append(make("p", "rs-wrong-text", message));
}

function unmark(field) {
	field.classList.remove("rs-wrong");
	for (const text of field.querySelectorAll(":scope > .rs-wrong-text")) text.remove();
	for (const input of field.querySelectorAll("[aria-invalid]")) {
		input.removeAttribute("aria-invalid");
	}
}

export function problem(element, props, watch) {
	const box = element.querySelector(".rs-problem");
	let marked = [];
	const draw = () => {
		const content = parsed(props.value);
		marked.forEach(unmark);
		marked = [];
		box.replaceChildren();
		box.hidden = !content;
		if (!content) return;
		if (content.problem) box.append(make("p", "rs-what", content.problem));
		const list = make("ul");
		content.fields.forEach((item) => {
			const field = document.getElementById(item.id);
			list.append(make("li", "", `${labelOf(field) || item.path}: ${item.message}`));
			if (field) {
				mark(field, item.message);
				marked.push(field);
			}
		});
		if (content.fields.length) box.append(list);
		box.append(make("p", "rs-remedy", content.remedy));
	};
	draw();
	watch("value", draw);
}
