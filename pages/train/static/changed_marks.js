/* Fields whose value is not the default: a line at the field with a way back, and a count at the
   heading of the group that they stand in. */

import { make } from "../shared/elements.js";

const KEEP = { __type__: "update" };
const EMPTY = [null, undefined, ""];

let page = null; // the texts, and how a field is set back

export function marks(_element, props, _watch, trigger, texts) {
	page = {
		texts,
		setBack: (id) => {
			props.value = id;
			trigger("input");
		},
	};
	draw();
}

const same = (one, other) =>
	(EMPTY.includes(one) && EMPTY.includes(other)) || JSON.stringify(one) === JSON.stringify(other);

let changed = [];
let isWaiting = false;

/* A page that is filled changes many fields at once; what they say in the end is drawn. */
export function mark(fields, ...values) {
	changed = fields.filter((field, place) => !same(field.value, values[place]));
	if (!isWaiting) {
		isWaiting = true;
		setTimeout(() => {
			isWaiting = false;
			draw();
		}, 30);
	}
	return [];
}

/* The values that set one field back, for the event that `setBack` triggers. */
export function goBack(fields, id) {
	return fields.map((field) => (field.id === id ? field.value : KEEP));
}

function line(field, { texts, setBack }) {
	const node = make("p", "rs-changed", `${texts.changed.replace("{default}", field.words)} `);
	const button = make("button", "rs-to-default", texts.back);
	button.type = "button";
	button.addEventListener("click", () => setBack(field.id));
	node.append(button);
	return node;
}

function draw() {
	if (!page) return;
	const known = new Map(changed.map((field) => [field.id, field]));
	for (const old of document.querySelectorAll(".rs-changed")) {
		if (!known.delete(old.dataset.field)) old.remove();
	}
	for (const [id, field] of known) {
		const block = document.getElementById(id);
		if (!block) continue;
		const node = line(field, page);
		node.dataset.field = id;
		block.append(node);
	}
	count();
}

function count() {
	for (const heading of document.querySelectorAll(".block > .label-wrap")) {
		const many = heading.parentElement.querySelectorAll(".rs-changed").length;
		let badge = heading.querySelector(".rs-changed-count");
		if (!many) {
			badge?.remove();
			continue;
		}
		if (!badge) {
			badge = make("span", "rs-changed-count");
			heading.lastElementChild.before(badge);
		}
		const { one, several } = page.texts;
		badge.textContent = many === 1 ? one : several.replace("{count}", many);
	}
}
