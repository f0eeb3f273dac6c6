/* The problem box of pages/shared/wiring.py: an error in words, each wrong field's at the field.
   What stands at a field that is seen is not said again in the box. A field in a closed section is
   named with a way to it; after a press of a button its section opens and it comes into view. */

import { make, parsed } from "./elements.js";
import { tr } from "./language.js";

const labelOf = (field) =>
	field?.querySelector("[data-testid='block-info'], label > span")?.textContent.trim();

const inputOf = (field) => field.querySelector("input, textarea, select");

function mark(field, message) {
	field.classList.add("rs-wrong");
	inputOf(field)?.setAttribute("aria-invalid", "true");
	const text = make("p", "rs-wrong-text", message);
	text.setAttribute("role", "alert");
	field.append(text);
}

function unmark(field) {
	field.classList.remove("rs-wrong");
	for (const text of field.querySelectorAll(":scope > .rs-wrong-text")) text.remove();
	for (const input of field.querySelectorAll("[aria-invalid]")) {
		input.removeAttribute("aria-invalid");
	}
}

function isOnScreen(field) {
	const { top, bottom } = field.getBoundingClientRect();
	return bottom > 0 && top < window.innerHeight;
}

/* The headings of the closed sections that a field stands in. */
function closedAround(field) {
	const found = [];
	for (let around = field?.parentElement; around; around = around.parentElement) {
		const heading = around.querySelector(":scope > .label-wrap");
		if (heading && !heading.classList.contains("open")) found.push(heading);
	}
	return found;
}

/* Opens the sections around a field and brings it into view, once they are drawn open. */
function reveal(field) {
	for (const heading of closedAround(field)) heading.click();
	return new Promise((resolve) => {
		requestAnimationFrame(() => {
			field.scrollIntoView({ block: "center" });
			resolve();
		});
	});
}

/* The name of a field that is marked elsewhere on the page, to go there. */
function wayTo(field, item) {
	const button = make("button", "rs-way", labelOf(field) || item.path);
	button.type = "button";
	button.addEventListener("click", async () => {
		await reveal(field);
		inputOf(field)?.focus();
	});
	return button;
}

const isPressed = () => Boolean(document.activeElement?.closest("button"));

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
		const list = make("ul");
		for (const item of content.fields) {
			const field = document.getElementById(item.id);
			const line = make("li");
			if (field?.offsetParent || closedAround(field).length) {
				const isFirst = !marked.length;
				mark(field, isFirst ? `${sentence(item.message)} ${content.remedy}` : item.message);
				marked.push(field);
				line.append(wayTo(field, item));
			} else line.append(`${labelOf(field) || item.path}: ${item.message}`);
			list.append(line);
		}
		const isSaid = marked.length > 0 && marked.length === content.fields.length;
		box.hidden = isSaid && !content.problem && marked.every(isOnScreen);
		if (isSaid) box.removeAttribute("role");
		else box.setAttribute("role", "alert");
		if (content.problem) box.append(make("p", "rs-what", content.problem));
		if (content.fields.length) box.append(list);
		if (!marked.length) box.append(make("p", "rs-remedy", content.remedy));
	};
	draw();
	watch("value", () => {
		draw();
		const hidden = marked.find((field) => closedAround(field).length);
		if (hidden && isPressed()) reveal(hidden);
	});
}

const sentence = (message) =>
	/[.!?。！？]$/.test(message) ? message : tr("{message}.", { message });
